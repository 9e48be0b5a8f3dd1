"""Frozen models that teach, and features of any registered backbone by level."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import inf
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from xlearner_mm.checkpoint import (
    State,
    load_backbone,
    load_strictly,
    read_checkpoint,
    recorded_normalization,
    resolve_checkpoint,
    sha256_of,
    state_dict_of,
)
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.models.data_preprocessor import normalization_of, pass_contiguous_where_misread, tell_loaded_order
from xlearner_mm.models.distillation.foundation import FoundationBackbone
from xlearner_mm.normalization import BGR, ORDERS, Normalization
from xlearner_mm.registry import MODELS

# They belong to a learner's own training: as a teacher it needs no hints, and its holder says what is compiled.
_HINTS = 'hints'
_TRAINING_ONLY = (_HINTS, 'compile')
_PRECISIONS = (None, 'bfloat16', 'float16')
# Backbones with windows take no smaller image than a window of 7 or 12 at stride 32.
_PROBE_SIZES = (224, 384)


def as_teacher(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a model without what only its own training needs."""
    return {key: value for key, value in model.items() if key not in _TRAINING_ONLY}


def without_hints(state: State) -> State:
    """Return the weights of a model without those of X-Learner++'s hints."""
    return {key: value for key, value in state.items() if not key.startswith(f'{_HINTS}.')}


class FrozenModel:
    """A model with the weights of a checkpoint, in eval mode and without gradients.

    Deliberately no ``nn.Module``: it is not among the children of its holder, which neither trains nor saves it, nor
    passes it to an optimizer or to DDP. The holder calls :meth:`apply` from its own ``_apply``. A deep copy of the
    holder, as MMEngine's ``EMAHook`` makes, shares the model; only the first holder moves and converts it.

    Args:
        model: config of a registered model.
        checkpoint: its checkpoint, or the work directory whose last one is taken.
        what: its name in messages. Defaults to ``'teacher'``.
        autocast: ``'bfloat16'`` or ``'float16'``, the precision to run in. Defaults to None: the training's.

    Attributes:
        module: the model.
        checkpoint: the file that was read.
        sha256: of that file.
        meta: metadata of the checkpoint.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or not of this model.
        ConfigError: an unknown precision.
    """

    def __init__(
        self, model: Mapping[str, Any], checkpoint: str, what: str = 'teacher', autocast: str | None = None
    ) -> None:
        if autocast not in _PRECISIONS:
            raise ConfigError(f"{what}: unknown autocast '{autocast}', choose from {_PRECISIONS}")
        self.what, self.autocast = what, autocast
        self._is_copy = False
        self.module: nn.Module = MODELS.build(without_library_defaults(as_teacher(model)))
        pass_contiguous_where_misread(self.module)
        self._read(checkpoint)

    def _read(self, checkpoint: str) -> None:
        self.checkpoint = resolve_checkpoint(checkpoint)
        self.sha256 = sha256_of(self.checkpoint)
        content = read_checkpoint(self.checkpoint)
        self.meta: Mapping[str, Any] = content.get('meta') or {}
        self._load(without_hints(state_dict_of(content)))
        self.freeze()

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenModel:
        shared = copy.copy(self)
        shared._is_copy = True
        return shared

    def _load(self, state: State) -> None:
        load_strictly(self.module, state, f'{self.what} {self.checkpoint}')

    def freeze(self) -> None:
        """Set eval mode and take no gradients from now on."""
        self.module.eval()  # not chained: some stock backbones' own returns nothing
        self.module.requires_grad_(False)

    def whole_modules(self) -> list[nn.Module]:
        """Return the modules that are called whole, which can be compiled."""
        return [self.module]

    def apply(self, fn: Any) -> None:
        """Move or convert the model's tensors along with its holder's."""
        if not self._is_copy:
            self.module._apply(fn)

    def precision(self, x: Tensor) -> AbstractContextManager:
        """Return the context of the precision in which the model runs for images ``x``."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(x.device.type, dtype=getattr(torch, self.autocast))

    def in_precision_of(self, x: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return features as targets: in the precision of the images, if the model has its own."""
        return tuple(features) if self.autocast is None else tuple(feature.to(x.dtype) for feature in features)

    def described(self) -> dict[str, str]:
        """Return file and hash as plain data, to be recorded in checkpoints."""
        return {'checkpoint': self.checkpoint, 'sha256': self.sha256}

    def hold_to(self, recorded: Mapping[str, str]) -> None:
        """Read the weights that a resumed training started with, also if the config names another file now.

        Args:
            recorded: :meth:`described` of the model that the training started with.

        Raises:
            CheckpointError: it is another one, and the recorded file is missing or has changed.
        """
        path, before = recorded['checkpoint'], recorded['sha256']
        if self.sha256 == before:
            return
        try:
            now = sha256_of(resolve_checkpoint(path))
        except CheckpointError:
            now = None
        if now != before:
            fate = 'is missing now' if now is None else 'has changed since'
            raise CheckpointError(
                f'the {self.what} {self.checkpoint} is not the one that this training began with: {path}, of SHA-256 '
                f'{before[:12]}..., {fate}; put it back, or start a new training'
            )
        print_log(f'{self.what}: {path}, with which this training began', logger='current')
        self._reread(path)

    def _reread(self, path: str) -> None:
        self._read(path)


class BackboneTeacher(FrozenModel):
    """A frozen backbone of any registered type whose features are targets.

    Args:
        model: config of any registered backbone, with its ``_scope_``.
        checkpoint: its checkpoint; also one of a stock network that holds it.
        what: its name in messages.
        data_preprocessor: config of the stock data preprocessor that it was trained with. Defaults to None: its
            checkpoint records how its images were normalized.
        autocast: see :class:`FrozenModel`. Defaults to None.
        channel_order: order in which its training images were loaded, before that data preprocessor: ``'bgr'``, as
            OpenMMLab loads files, or ``'rgb'``, as CIFAR's arrays are. Defaults to None: ``'bgr'``.

    Attributes:
        channels: level -> channels, measured.
        normalization: :class:`~xlearner_mm.normalization.Normalization` of its images.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or not of this model.
        ConfigError: its normalization is not known, a channel order that is unknown or of no data preprocessor, or it
            does not return feature maps.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        checkpoint: str,
        what: str,
        data_preprocessor: Mapping[str, Any] | None = None,
        autocast: str | None = None,
        channel_order: str | None = None,
    ) -> None:
        super().__init__(model, checkpoint, what=what, autocast=autocast)
        if channel_order is not None and channel_order not in ORDERS:
            raise ConfigError(f"{what}: channel_order is '{channel_order}', not of {ORDERS}")
        if channel_order is not None and data_preprocessor is None:
            raise ConfigError(
                f"{what}: channel_order='{channel_order}' is of images before a data_preprocessor, but none is given; "
                'give it too, or leave out both where the model or its checkpoint says how images are normalized'
            )
        self.normalization = self._normalization(data_preprocessor, channel_order or self._order_by_default())
        self.channels = self._channels()

    def _load(self, state: State) -> None:
        if isinstance(self.module, FoundationBackbone):
            self.module.load(self.checkpoint, state)
        else:
            load_backbone(self.module, self.checkpoint)

    def _channels(self) -> dict[int, int]:
        return probe_channels(self.module, self.what)

    def _order_by_default(self) -> str:
        return BGR

    def _normalization(self, data_preprocessor: Mapping[str, Any] | None, channel_order: str) -> Normalization:
        if data_preprocessor is not None:
            preprocessor = MODELS.build(dict(data_preprocessor))
            tell_loaded_order(preprocessor, channel_order)
            return normalization_of(preprocessor)
        if isinstance(self.module, FoundationBackbone):
            self.module.check_tag()
            return self.module.normalization
        recorded = recorded_normalization(self.meta)
        if recorded is None:
            raise ConfigError(
                f'{self.what}: {self.checkpoint} does not say how its images were normalized; give the '
                'data_preprocessor that it was trained with'
            )
        return recorded

    def levels_by_default(self, levels: Sequence[int]) -> Sequence[int]:
        """Return the levels that it teaches unless set: its own of a foundation backbone, else ``levels``."""
        return tuple(self.channels) if isinstance(self.module, FoundationBackbone) else levels

    def check_normalization(self, expected: Normalization) -> None:
        """Compare its input normalization with that of the sources; a foundation backbone converts their images.

        Raises:
            ConfigError: it was trained on images that were normalized differently.
        """
        if isinstance(self.module, FoundationBackbone):
            self.module.convert_from(expected, self.normalization)
            return
        self.normalization.check(expected, self.what, 'the sources have', 'both see the same images: make them agree')

    @torch.no_grad()
    def features(self, x: Tensor) -> dict[int, Tensor]:
        """Return ``(B, C_i, H_i, W_i)`` by level for images ``(B, 3, H, W)``."""
        with self.precision(x):
            outputs = self.module(x)
        return by_level(self.module, self.in_precision_of(x, outputs))


def check_levels(owner: str, levels: Sequence[int], known: Mapping[str, Collection[int]]) -> tuple[int, ...]:
    """Return levels to distill as a tuple.

    Args:
        owner: whose setting they are, for messages.
        levels: the setting.
        known: what must have them -> its levels.

    Raises:
        ConfigError: none, one twice, no integers, or levels that do not exist.
    """
    if not isinstance(levels, Sequence) or any(type(level) is not int for level in levels):
        raise ConfigError(f'{owner}: levels must be a tuple of integers, as (0, 1, 2, 3), got {levels!r}')
    if not levels or len(set(levels)) != len(levels):
        raise ConfigError(f'{owner}: levels must name at least one level, each once, got {levels}')
    for name, available in known.items():
        beyond = [i for i in levels if i not in available]
        if beyond:
            raise ConfigError(f"{owner}: levels {beyond} are beyond '{name}', whose levels are {list(available)}")
    return tuple(levels)


def check_weight(owner: str, weight: Any) -> float:
    """Return a weight of a loss.

    Raises:
        ConfigError: it is negative, or no finite number.
    """
    if not isinstance(weight, int | float) or not 0 <= weight < inf:
        raise ConfigError(f'{owner} must be a number and not negative, got {weight!r}')
    return weight


def by_level(backbone: nn.Module, outputs: Sequence[Tensor]) -> dict[int, Tensor]:
    """Return a backbone's outputs as level -> ``(B, C_i, H_i, W_i)``; its ``out_indices`` are the levels."""
    levels = getattr(backbone, 'out_indices', None) or range(len(outputs))
    return dict(zip(levels, outputs, strict=True))


@torch.no_grad()
def probe_channels(backbone: nn.Module, what: str) -> dict[int, int]:
    """Measure a backbone's channels: level -> C_i.

    Args:
        backbone: any registered backbone.
        what: its name in messages.

    Raises:
        ConfigError: it cannot run, or does not return feature maps ``(B, C, H, W)``.
    """
    outputs = _probe(backbone, what)
    if not isinstance(outputs, tuple | list) or any(not isinstance(f, Tensor) or f.dim() != 4 for f in outputs):
        raise ConfigError(
            f'{what}: {type(backbone).__name__} returns {_shapes(outputs)}, expected a tuple with one feature map '
            '(B, C, H, W) per level; set its out_indices and output type'
        )
    return {level: feature.shape[1] for level, feature in by_level(backbone, outputs).items()}


def unreached_parameters(backbone: nn.Module, levels: Collection[int], what: str) -> dict[str, nn.Parameter]:
    """Return the trainable parameters that get no gradient from a loss on some levels, by name.

    Args:
        backbone: any registered backbone.
        levels: the levels that losses read, among its outputs.
        what: its name in messages.
    """
    with torch.enable_grad():
        outputs = by_level(backbone, _probe(backbone, what))
    reached, nodes = set(), [outputs[level].grad_fn for level in levels]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        reached.add(id(getattr(node, 'variable', None)))
        before = {following for following, _ in getattr(node, 'next_functions', ())} - seen
        seen |= before
        nodes += before
    return {name: p for name, p in backbone.named_parameters() if p.requires_grad and id(p) not in reached}


def _probe(backbone: nn.Module, what: str) -> Any:
    training, failures = backbone.training, []
    backbone.eval()
    try:
        for size in _PROBE_SIZES:
            try:
                return backbone(torch.zeros(1, 3, size, size))
            except Exception as error:  # whatever a backbone has against an image of this size
                failures.append(f'{size}x{size}: {type(error).__name__} {error}')
    finally:
        backbone.train(training)
    raise ConfigError(f'{what}: {type(backbone).__name__} cannot run on an image of {"; nor of ".join(failures)}')


def _shapes(outputs: Any) -> str:
    if isinstance(outputs, tuple | list):
        return f'({", ".join(map(_shapes, outputs))})'
    return f'a tensor of shape {tuple(outputs.shape)}' if isinstance(outputs, Tensor) else type(outputs).__name__
