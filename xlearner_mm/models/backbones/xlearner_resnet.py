"""The backbone of transfer configs: the stock ResNet of their library, which loads strictly."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary, ref

from mmengine.logging import print_log
from mmengine.model import BaseModule, PretrainedInit
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from xlearner_mm.checkpoint import SAME_ARCHITECTURE, load_backbone, recorded, recorded_normalization
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.data_preprocessor import channel_settings, loaded_order_of, normalization_of
from xlearner_mm.models.norms import apply_norm_eval
from xlearner_mm.normalization import Normalization
from xlearner_mm.registry import MODELS, WEIGHT_INITIALIZERS, DefaultScope, bare_name, names_a, registered_name

_HOLDERS: WeakKeyDictionary[nn.Module, ref[nn.Module]] = WeakKeyDictionary()
# Holders of remembered modules: their own holders are remembered too.
_HOLDING: WeakKeyDictionary[nn.Module, None] = WeakKeyDictionary()


def remember_holders_of(kind: type[nn.Module]) -> None:
    """Remember the modules that hold a module of that kind from now on, by torch's process-wide registration hook."""

    def remember(holder: nn.Module, name: str, module: nn.Module | None) -> None:
        if isinstance(module, kind) or (module is not None and module in _HOLDING):
            _HOLDERS[module] = ref(holder)
            _HOLDING[holder] = None

    register_module_module_registration_hook(remember)


def holders_of(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules around a module, from the inside out, as far as they were remembered."""
    known = _HOLDERS.get(module)
    while known is not None and (holder := known()) is not None:
        yield holder
        known = _HOLDERS.get(holder)


def preprocessors_around(module: nn.Module) -> list[nn.Module]:
    """Return the data preprocessors of the innermost network around a module that normalizes its images.

    Multi-branch and multi-source preprocessors are listed one by one; none if no network is known or normalizes.
    """
    for holder in holders_of(module):
        outer = getattr(holder, 'data_preprocessor', None)
        inner = [part for part in outer.modules() if hasattr(part, 'mean')] if isinstance(outer, nn.Module) else []
        if inner:
            return inner
    return []


def register_in(libraries: tuple[str, ...], backbones: Mapping[str, Callable[..., nn.Module]]) -> None:
    """Register backbones in the libraries' registries, for names with a prefix; their models are not imported."""
    for library in libraries:
        registry = import_module(f'{library}.registry').MODELS
        for name, backbone in backbones.items():
            # `force`: the package may be imported twice, under two names
            registry.register_module(name=name, module=partial(backbone, library=library), force=True)


LIBRARIES = ('mmdet', 'mmseg', 'mmpretrain')
# Outside of the three libraries' scopes: mmseg's has all of mmdet's arguments, and more.
DEFAULT_LIBRARY = 'mmseg'
# No checkpoint of a plain ResNet fills what `dcn` and `plugins` add.
_REMEDY = (
    f'{SAME_ARCHITECTURE}; if the missing ones are to be learned here, as those of dcn and plugins, write strict=False '
    'into init_cfg'
)


@MODELS.register_module()
class XLearnerResNet(BaseModule):
    """A plain ResNet: X-Learner's student, and the backbone of downstream configs.

    It *is* the stock ResNet of one of the libraries, with that library's arithmetic, keys, arguments and defaults, and
    an instance of that class. As for ``type='ResNet'``, the scope decides which one: mmdet's (``norm_eval=True``),
    mmseg's (``contract_dilation``, ``multi_grid``) or mmpretrain's (``drop_path_rate``, ``expansion``,
    ``out_indices=(3,)``); in any other scope, or none, mmseg's. A prefix of the type and ``library`` override the
    scope. As with :class:`pathlib.Path`, calling this class returns an instance of the subclass that fits.
    ``XLearnerResNetV1c`` is short for ``deep_stem=True``, ``XLearnerResNetV1d`` for ``deep_stem=True, avg_down=True``.

    It adds strict loading: ``init_cfg=dict(type='Pretrained', checkpoint=...)`` accepts an export, a squeeze
    checkpoint or a training checkpoint, with the deep stem named as in any of the libraries, and raises where the stock
    type warns and trains from noise. It replaces the ``pretrained`` that mmseg's networks pass to their backbone. It
    also raises if bottlenecks have another ``style``, or images another normalization, than the checkpoint records.

    Args:
        depth: 18, 34, 50, 101 or 152.
        init_cfg: mmengine's weight initialization; for ``type='Pretrained'`` also ``prefix`` (where the backbone is
            in the checkpoint; found by itself by default), ``strict`` (defaults to True) and ``as_trained`` (defaults
            to True; False allows another style or normalization than the checkpoint records).
        library: ``'mmdet'``, ``'mmseg'`` or ``'mmpretrain'``, whatever the scope; over a prefix of the type. Defaults
            to None: by the prefix, or else the scope.
        kwargs: the stock ResNet's arguments: ``stem_channels``, ``base_channels``, ``out_indices``, ``style``,
            ``frozen_stages``, ``norm_cfg``, ``norm_eval``, ``strides``, ``dilations``, ``with_cp``, ...; of mmdet and
            mmseg also ``dcn`` and ``plugins``.

    Raises:
        CheckpointError: when weights are initialized from a checkpoint that leaves anything at its random start, or
            that was trained for another use.
        ConfigError: an unknown library, more than one checkpoint, or ``pretrained`` beside an ``init_cfg`` without any.
    """

    def __new__(cls, *args: Any, library: str | None = None, **kwargs: Any) -> XLearnerResNet:
        """Create an instance of the subclass for the library in whose scope it is built."""
        return super().__new__(resnet_class(library) if cls is XLearnerResNet else cls)

    def __init__(self, depth: int, init_cfg: InitCfg = None, library: str | None = None, **kwargs: Any) -> None:
        deep_stem = kwargs.get('deep_stem', False)
        self.pretrained_cfg, rest = start_of(init_cfg, kwargs.pop('pretrained', None), deep_stem)
        # The libraries' own defaults of init_cfg differ; a checkpoint replaces them.
        given = {'init_cfg': rest} if rest else {}
        super().__init__(depth, **given, **kwargs)  # type: ignore[call-arg]

    def init_weights(self) -> None:
        """Initialize at random, then load the pretrained checkpoint, strictly.

        Raises:
            CheckpointError: the checkpoint does not fit, or was trained for another use.
        """
        super().init_weights()
        wanted = self.pretrained_cfg
        if wanted is None:
            return
        meta = load_backbone(
            self, wanted['checkpoint'], wanted.get('prefix'), wanted.get('strict', True), remedy=_REMEDY
        )
        if wanted.get('as_trained', True):
            check_usage(self, preprocessors_around(self), meta, f'checkpoint {wanted["checkpoint"]}')

    def train(self, mode: bool = True) -> XLearnerResNet:
        """Set training mode, frozen stages excepted, and return the module as torch's do."""
        super().train(mode)
        if mode:
            apply_norm_eval(self)
        return self


@MODELS.register_module(name='XLearnerResNetV1c')
def xlearner_resnet_v1c(**kwargs: Any) -> XLearnerResNet:
    """Return an XLearnerResNet of type ``ResNetV1c``: a deep stem of three 3x3 convs."""
    return XLearnerResNet(deep_stem=True, avg_down=False, **kwargs)


@MODELS.register_module(name='XLearnerResNetV1d')
def xlearner_resnet_v1d(**kwargs: Any) -> XLearnerResNet:
    """Return an XLearnerResNet of type ``ResNetV1d``: a deep stem, and average pools for down-sampling."""
    return XLearnerResNet(deep_stem=True, avg_down=True, **kwargs)


def resnet_class(library: str | None = None) -> type[XLearnerResNet]:
    """Return the XLearnerResNet of a library: the class to derive from.

    Args:
        library: ``'mmdet'``, ``'mmseg'`` or ``'mmpretrain'``. Defaults to None: that of the current default scope,
            else mmseg's.

    Raises:
        ConfigError: an unknown library.
    """
    if library is None:
        scope = DefaultScope.get_current_instance()
        library = scope.scope_name if scope is not None and scope.scope_name in LIBRARIES else DEFAULT_LIBRARY
    if library not in LIBRARIES:
        raise ConfigError(f"XLearnerResNet: unknown library '{library}', choose from {LIBRARIES}")
    # Imported when needed: each of the libraries is slow to import.
    return import_module(f'xlearner_mm.models.backbones.of_{library}').XLearnerResNet


def without_library_defaults(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return a backbone's config that means the same in every scope, for the models of our own stages."""
    ours = registered_name(backbone['type']).removeprefix('mmengine.') in _OURS
    return {'library': DEFAULT_LIBRARY, **backbone} if ours else dict(backbone)


_OURS = {
    'XLearnerResNet': XLearnerResNet,
    'XLearnerResNetV1c': xlearner_resnet_v1c,
    'XLearnerResNetV1d': xlearner_resnet_v1d,
}
remember_holders_of(XLearnerResNet)
register_in(LIBRARIES, _OURS)


InitCfg = dict | list[dict] | None

# Published networks are named by their type: `open-mmlab://resnet50_v1c`, `resnetv1d50_b32x8_imagenet...pth`.
_DEEP_STEM = re.compile(r'(?:_|resnet)v1([cd])(?![a-z])')


def pretrained_entries(init_cfg: Any) -> list[Mapping[str, Any]]:
    """Return the entries of an ``init_cfg`` (one entry, several, or None) that start from a checkpoint."""
    entries = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or ())
    return [entry for entry in entries if names_a(entry, PretrainedInit, WEIGHT_INITIALIZERS)]


def start_of(
    init_cfg: InitCfg, pretrained: str | None = None, deep_stem: bool = False
) -> tuple[dict[str, Any] | None, InitCfg]:
    """Return the one checkpoint to start from, and the rest of an ``init_cfg``: mmengine's own loader only warns.

    Args:
        init_cfg: mmengine's weight initialization.
        pretrained: a checkpoint by the older name, which mmseg's networks pass to their backbone. A checkpoint in
            ``init_cfg`` replaces it, which is logged. Defaults to None.
        deep_stem: whether the backbone has the deep stem of ResNetV1c and V1d. Defaults to False.

    Raises:
        ConfigError: more than one checkpoint in ``init_cfg``, or ``pretrained`` beside one without any.
    """
    entries = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    checkpoints: list[Any] = list(pretrained_entries(entries))
    if len(checkpoints) > 1:
        raise ConfigError('init_cfg names more than one Pretrained checkpoint')
    if pretrained is not None and checkpoints:
        _log_replaced(pretrained, checkpoints[0]['checkpoint'], deep_stem)
    elif pretrained is not None:
        if entries:
            raise ConfigError(
                f"init_cfg and pretrained='{pretrained}' cannot both be given: name the checkpoint in init_cfg, by "
                "dict(type='Pretrained', checkpoint=...), or set pretrained=None"
            )
        checkpoints = [{'type': 'Pretrained', 'checkpoint': pretrained}]
    rest = [entry for entry in entries if not pretrained_entries(entry)]
    return (dict(checkpoints[0]) if checkpoints else None), (rest or None)


def _log_replaced(pretrained: str, checkpoint: str, deep_stem: bool) -> None:
    print_log(f"XLearnerResNet: init_cfg's {checkpoint} is loaded in place of pretrained='{pretrained}'", 'current')
    meant = _DEEP_STEM.search(pretrained)
    if meant and not deep_stem:
        type_ = f'ResNetV1{meant[1]}'
        print_log(
            f"XLearnerResNet: the config was written for the deep stem of {type_}, as pretrained='{pretrained}' shows, "
            f"and gets a plain one, which plain weights need; type='XLearner{type_}' is the deep one",
            'current',
            logging.WARNING,
        )


_WAY_OUT = 'or write as_trained=False into init_cfg if you mean it'


def check_usage(backbone: nn.Module, preprocessors: Sequence[nn.Module], meta: Mapping[str, Any], what: str) -> None:
    """Compare a backbone and its images with the record of its training, which no key and no shape shows.

    Args:
        backbone: the ResNet that was loaded.
        preprocessors: those of the network around it.
        meta: the checkpoint's metadata; other trainings than ours record nothing, and pass.
        what: the checkpoint's name, for messages.

    Raises:
        CheckpointError: a bottleneck of another style, or images normalized differently.
    """
    trained = recorded(meta).get('backbone') or {}
    if bare_name(trained.get('type', '')).startswith('XLearnerResNet'):
        _check_style(backbone, trained.get('style', 'pytorch'), what)
    normalization = recorded_normalization(meta)
    if normalization is not None:
        for preprocessor in preprocessors:
            _check_normalization(preprocessor, normalization, what)


def _check_style(backbone: Any, trained: str, what: str) -> None:
    # Blocks of depth 18 and 34 have one style only.
    if backbone.depth >= 50 and backbone.style != trained:
        raise CheckpointError(
            f"{what} was trained with style='{trained}', but the config gives the backbone style='{backbone.style}', "
            f"whose strides lie elsewhere: its features would be wrong. Set style='{trained}', {_WAY_OUT}"
        )


def _check_normalization(preprocessor: nn.Module, trained: Normalization, what: str) -> None:
    loaded = loaded_order_of(preprocessor)
    loading = f'loaded in {loaded} order'
    if loaded is None:
        loading = "taken for BGR, as OpenMMLab loads files (XLearnerRunner looks which order the dataset's are in)"
    mean, std, order = trained.record()
    trained.check(
        normalization_of(preprocessor),
        what,
        f"the config's {type(preprocessor).__name__}, from images {loading}, gives",
        f'set mean={mean}, std={std} and {channel_settings(preprocessor, order)} in data_preprocessor, {_WAY_OUT}',
        CheckpointError,
    )
