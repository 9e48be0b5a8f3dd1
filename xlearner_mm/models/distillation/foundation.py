"""Backbones of timm and mmpretrain as teachers: tokens as maps, their own normalization, levels by stride."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from mmengine.hub import get_config
from torch import Tensor, nn

from xlearner_mm.checkpoint import State, find_backbone_weights, load_backbone, load_strictly
from xlearner_mm.errors import CheckpointError, ConfigError, describe_error, one_line
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.models.data_preprocessor import normalization_of
from xlearner_mm.nearest_name import nearest
from xlearner_mm.normalization import RGB, Normalization
from xlearner_mm.registry import MODELS, type_of

_TIMM, _MMPRETRAIN = 'timm/', 'mmpretrain::'
_SIZE = 224
"""Height and width of the image on which strides are measured, if taken; whole patches of 14, 16 and 32."""
_SMALL = 64
"""Height and width of a small image, of which models with windows of attention may refuse one."""
_LEVELS = 4
_MAPS = {'out_type': 'featmap', 'gap_before_final_norm': False, 'reshape_last_feat': True}
"""Arguments of mmpretrain's backbones with which outputs are maps."""


@dataclass(frozen=True)
class ImageSizes:
    """Sizes of images that a model takes, as (height, width) in pixels.

    Args:
        multiple: pixels of a patch, of which images take whole numbers. Defaults to 1.
        least: smallest size. Defaults to None: any.
        only: the one size of a model that takes no other. Defaults to None.
    """

    multiple: int = 1
    least: tuple[int, int] | None = None
    only: tuple[int, int] | None = None

    def nearest(self, height: int, width: int) -> tuple[int, int]:
        """Return the size to which an image is enlarged: in its aspect, up to whole patches; or the only size."""
        if self.only is not None:
            return self.only
        least = self.least or (height, width)
        scale = max(Fraction(1), Fraction(least[0], height), Fraction(least[1], width))
        whole = [math.ceil(side * scale / self.multiple) * self.multiple for side in (height, width)]
        return whole[0], whole[1]


@MODELS.register_module()
class FoundationBackbone(nn.Module):
    """A backbone of timm or mmpretrain whose outputs are feature maps by the levels of a student.

    Of a vision transformer, outputs are those of its blocks, their patch tokens laid out as a map; class and register
    tokens are dropped. Images of another size than whole patches are resized to the next whole number of them,
    bilinearly, smaller ones than attention's windows to those, and all images of a model that takes one size alone to
    that.
    Student and teacher features of unlike strides are brought to the teacher's size by the guidance layers.

    Args:
        name: ``'timm/<model>'``, or ``'mmpretrain::<config>'``, a path within mmpretrain's configs.
        level_map: level of the student -> output of the backbone, by its position, negative from the end. Defaults to
            None: by stride, level i being that of stride 2^(i+2); of several outputs at one level, the last.
        settings: further arguments of the model, as ``img_size`` of timm's or ``out_indices`` of mmpretrain's.

    Attributes:
        out_indices: the levels of the outputs.
        normalization: of the images on which the model was trained; of timm's, see :meth:`check_tag`.
        sizes: of images that the model takes; others are resized.

    Raises:
        ConfigError: no such model, an output that is no map, or a level map of unknown outputs.
    """

    def __init__(self, name: str, level_map: Mapping[int, int] | None = None, **settings: Any) -> None:
        super().__init__()
        self.name = name
        self._from: tuple[Normalization, Normalization] | None = None
        self.of_timm = name.startswith(_TIMM)
        self._norm = True
        self._taken: list[int] | None = None
        if self.of_timm:
            self.model, self.normalization, self._convert = _timm_model(name.removeprefix(_TIMM), settings)
            own = settings.get('img_size', (self._trained_as.get('input_size') or (_SIZE,))[-2:])
        elif name.startswith(_MMPRETRAIN):
            self.model, self.normalization, own = _mmpretrain_model(name, settings)
        else:
            raise ConfigError(f"FoundationBackbone: name is '{name}', give '{_TIMM}<model>' or '{_MMPRETRAIN}<config>'")
        probed, strides = self._strides(list(dict.fromkeys([(_SIZE, _SIZE), _height_and_width(own)])))
        self.sizes = self._accepted_sizes(probed, strides)
        chosen = _by_stride(strides) if level_map is None else _by_setting(name, level_map, len(strides))
        self.out_indices = tuple(chosen)
        self._outputs = list(chosen.values())
        self._taken = sorted(set(self._outputs))

    @property
    def _trained_as(self) -> dict[str, Any]:
        trained: Any = self.model.pretrained_cfg
        return trained

    @torch.no_grad()
    def _strides(self, sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], list[int]]:
        """Return the first size on which the model runs, and the strides of its outputs."""
        self.model.eval()
        failures = []
        for size in sizes:
            for norm in (True, False) if self.of_timm else (True,):  # Hiera's norm is of its pooled features
                self._norm = norm
                try:
                    return size, self._strides_of(self._read(torch.zeros(1, 3, *size)), size)
                except ConfigError:
                    raise
                except Exception as error:  # whatever a model has against such an image
                    failures.append(f'{size[0]}x{size[1]}: {describe_error(error)}')
        raise ConfigError(f'{self.name} cannot run on an image of {"; nor of ".join(dict.fromkeys(failures))}')

    def _accepted_sizes(self, size: tuple[int, int], strides: Sequence[int]) -> ImageSizes:
        """Return the sizes that the model takes, found by trying.

        Args:
            size: of an image that the model takes.
            strides: of its outputs.
        """
        patch = _stride_of_patches(self.model)
        # timm returns all outputs, of one stride only if it is that of patches. Remainders would be cut off.
        of_patches = len(set(strides)) == 1 and (self.of_timm or patch == strides[0])
        multiples = strides[:1] if of_patches else [1, patch or 1, max(strides)]
        for multiple in dict.fromkeys(multiples):
            # Larger than the window of any attention, not square, and of odd numbers of patches where it can be.
            if self._takes([(side // multiple + more) * multiple for side, more in zip(size, (1, 3), strict=True)]):
                small = math.ceil(_SMALL / multiple) * multiple
                return ImageSizes(multiple, None if self._takes([small, small]) else size)
        return ImageSizes(only=size)

    @torch.no_grad()
    def _takes(self, size: Sequence[int]) -> bool:
        try:
            self._read(torch.zeros(1, 3, *size))
        except Exception:  # whatever a model has against such an image
            return False
        return True

    def _strides_of(self, outputs: Sequence[Tensor], size: tuple[int, int]) -> list[int]:
        if not outputs or any(not isinstance(level, Tensor) or level.dim() != 4 for level in outputs):
            shapes = [tuple(level.shape) if isinstance(level, Tensor) else type(level).__name__ for level in outputs]
            raise ConfigError(
                f'{self.name} returns {shapes}, expected feature maps (B, C, H, W): set the argument of '
                f'{type(self.model).__name__} that keeps them maps, or choose another model'
            )
        return [round(size[-1] / level.shape[-1]) for level in outputs]

    def _read(self, x: Tensor) -> Sequence[Tensor]:
        """Return the outputs; of timm's models, those taken alone, as soon as they are there, else all."""
        model: Any = self.model
        if not self.of_timm:
            return model(x)
        taken = {} if self._taken is None else {'indices': self._taken, 'stop_early': True}
        # Transformers' last norm is applied to the tokens of every block, as DINOv2's intermediate layers are read.
        return model.forward_intermediates(x, intermediates_only=True, norm=self._norm, **taken)

    def check_tag(self) -> None:
        """Refuse a model of timm whose weights were trained on images of unlike normalization, without their tag.

        Raises:
            ConfigError: names the tags.
        """
        if not self.of_timm or '.' in self.name:
            return
        from timm.models import get_pretrained_cfg, list_pretrained

        tags = list_pretrained(f'{self.name.removeprefix(_TIMM)}.*')
        trained: list[Any] = [get_pretrained_cfg(tag) for tag in tags]
        if len({(tuple(cfg.mean), tuple(cfg.std)) for cfg in trained}) > 1:
            raise ConfigError(
                f"{self.name}: timm's weights of it were trained on images of unlike normalization; name their tag, as "
                f"name='{_TIMM}{tags[0]}' (of {[tag.split('.', 1)[1] for tag in tags]}), or give the data_preprocessor "
                'that the weights were trained with'
            )

    def convert_from(self, images: Normalization, own: Normalization) -> None:
        """Take images that were normalized for others from now on.

        Args:
            images: how they are normalized.
            own: how the model's were.
        """
        self._from = None if own.matches(images) else (images, own)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the feature map ``(B, C_i, H_i, W_i)`` of every level of ``out_indices``.

        Args:
            x: images ``(B, 3, H, W)``.
        """
        if self._from is not None:
            images, own = self._from
            x = own(images.undone(x))
        size = self.sizes.nearest(x.shape[-2], x.shape[-1])
        if size != tuple(x.shape[-2:]):
            x = F.interpolate(x, size, mode='bilinear', align_corners=False)
        outputs = self._read(x)
        found = dict(zip(self._taken or (), outputs, strict=True)) if self.of_timm else dict(enumerate(outputs))
        return tuple(found[output] for output in self._outputs)

    def load(self, path: str, state: State) -> None:
        """Load the model's weights, strictly; of timm's models also those of their authors' own names.

        Args:
            path: of the checkpoint.
            state: its weights.

        Raises:
            CheckpointError: of another model.
        """
        if not self.of_timm:
            load_backbone(self.model, path)
            return
        own = self.model.state_dict().keys()
        _, below = find_backbone_weights(state, own)
        try:
            renamed = self._convert(below or dict(state), self.model)
        except Exception as error:  # whatever it raises on other weights
            raise CheckpointError(f'checkpoint {path} is not of {self.name}: {describe_error(error)}') from error
        load_strictly(self.model, _without_classifier(self.model, renamed), f'checkpoint {path}')


def _without_classifier(model: nn.Module, state: State) -> dict[str, Tensor]:
    """Return weights without those of a classifier, also where its head has a norm that the model keeps."""
    trained: Any = model.pretrained_cfg
    named = trained.get('classifier') or ()
    classifiers = tuple(f'{name}.' for name in ([named] if isinstance(named, str) else named))
    own = model.state_dict().keys()
    modules = {key.split('.')[0] for key in own}
    return {
        key: value
        for key, value in state.items()
        if key in own or (key.split('.')[0] in modules and not key.startswith(classifiers))
    }


_Conversion = Callable[[State, nn.Module], State]


def _timm_model(name: str, settings: Mapping[str, Any]) -> tuple[nn.Module, Normalization, _Conversion]:
    try:
        import timm
    except ImportError as error:
        raise ConfigError(f"'{_TIMM}{name}' needs timm: pip install timm") from error
    if name.split('.')[0] not in timm.list_models():
        raise ConfigError(f"timm has no model '{name}'{nearest(name.split('.')[0], timm.list_models())}")
    sized = {'dynamic_img_size': True}
    try:
        try:
            model, convert = _created(name, {**sized, **settings})
        except TypeError:  # not a transformer
            model, convert = _created(name, settings)
    except (RuntimeError, TypeError, ValueError) as error:  # an unknown tag of weights, or settings of other models
        raise ConfigError(f"timm's {name}: {one_line(error)}") from error
    if not hasattr(model, 'forward_intermediates'):
        raise ConfigError(f"timm's {name} does not return intermediate features")
    trained: Any = model.pretrained_cfg
    mean, std = (tuple(round(255 * value, 3) for value in trained[key]) for key in ('mean', 'std'))
    return model, Normalization(mean, std, RGB), convert


def _created(name: str, settings: Mapping[str, Any]) -> tuple[nn.Module, _Conversion]:
    """Return timm's model and timm's conversion of its weights, which some models bind to arguments of their own.

    timm hands that conversion to its ``load_pretrained`` alone. It is asked for weights, and a stand-in for that
    function takes the conversion: nothing is loaded, and nothing downloaded.
    """
    import timm

    with patch('timm.models._builder.load_pretrained') as load:
        model = timm.create_model(name, pretrained=True, num_classes=0, **settings)
    convert = load.call_args.kwargs['filter_fn'] if load.called else None
    if convert is None:
        return model, lambda state, _: state
    if len(inspect.signature(convert).parameters) == 1:
        return model, lambda state, _: convert(state)
    return model, convert


def _mmpretrain_model(name: str, settings: Mapping[str, Any]) -> tuple[nn.Module, Normalization, Any]:
    """Return the model, the normalization of its config, and the config's size of images."""
    try:
        cfg = get_config(name if name.endswith('.py') else f'{name}.py')
    except Exception as error:  # mmengine's own, for a missing file or package
        raise ConfigError(f"mmpretrain has no config '{name}': {describe_error(error)}") from error
    network = cfg.get('model', {})
    if not isinstance(network.get('backbone'), Mapping):
        raise ConfigError(f"mmpretrain's config '{name}' is not of a model with a backbone, as classifiers are")
    backbone = {'_scope_': 'mmpretrain', **network['backbone'].to_dict(), **settings}
    backbone.pop('init_cfg', None)
    known = _arguments_of(type_of(backbone, MODELS))
    backbone.update({key: value for key, value in _MAPS.items() if key in known})
    preprocessor = {**cfg.get('data_preprocessor', {}), **network.get('data_preprocessor', {})}
    preprocessor = {'_scope_': 'mmpretrain', 'type': 'ClsDataPreprocessor', **preprocessor}
    model = MODELS.build(without_library_defaults(backbone))
    return model, normalization_of(MODELS.build(preprocessor)), backbone.get('img_size', _SIZE)


def _arguments_of(of_type: type) -> set[str]:
    """Return the names of a class's arguments, with those of its parents to which it passes further ones."""
    names: set[str] = set()
    for parent in of_type.__mro__:
        initialize: Any = vars(parent).get('__init__')
        if initialize is None:
            continue
        parameters = inspect.signature(initialize).parameters.values()
        names.update(parameter.name for parameter in parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names


def _height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


def _stride_of_patches(model: nn.Module) -> int | None:
    """Return the stride of a patch embedding, or None without one, as in CNNs."""
    embedding = getattr(model, 'patch_embed', None)
    if not isinstance(embedding, nn.Module):
        return None
    return math.prod(layer.stride[-1] for layer in embedding.modules() if isinstance(layer, nn.Conv2d))


def _by_stride(strides: Sequence[int]) -> dict[int, int]:
    levels = {round(math.log2(stride)) - 2: output for output, stride in enumerate(strides)}
    return {level: output for level, output in sorted(levels.items()) if 0 <= level < _LEVELS}


def _by_setting(name: str, level_map: Mapping[int, int], outputs: int) -> dict[int, int]:
    known = isinstance(level_map, Mapping) and all(
        type(level) is int and level >= 0 and type(output) is int and -outputs <= output < outputs
        for level, output in level_map.items()
    )
    if not known or not level_map:
        raise ConfigError(
            f'{name}: level_map must be levels of the student -> outputs from {-outputs} to {outputs - 1}, got '
            f'{level_map!r}'
        )
    return {level: output % outputs for level, output in sorted(level_map.items())}
