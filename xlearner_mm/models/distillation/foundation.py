"""Backbones of timm and mmpretrain as teachers: tokens as maps, their own normalization, levels by stride."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
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
_LEVELS = 4
_MAPS = {'out_type': 'featmap', 'gap_before_final_norm': False}
"""Arguments of mmpretrain's backbones with which outputs are maps."""


@MODELS.register_module()
class FoundationBackbone(nn.Module):
    """A backbone of timm or mmpretrain whose outputs are feature maps by the levels of a student.

    Of a vision transformer, outputs are those of its blocks, their patch tokens laid out as a map; class and register
    tokens are dropped. Images of another size than whole patches are resized to the next whole number of them,
    bilinearly; those of a model that takes one size alone, to that.
    Student and teacher features of unlike strides are brought to the teacher's size by the guidance layers.

    Args:
        name: ``'timm/<model>'``, or ``'mmpretrain::<config>'``, a path within mmpretrain's configs.
        level_map: level of the student -> output of the backbone, by its position, negative from the end. Defaults to
            None: by stride, level i being that of stride 2^(i+2); of several outputs at one level, the last.
        settings: further arguments of the model, as ``img_size`` of timm's or ``out_indices`` of mmpretrain's.

    Attributes:
        out_indices: the levels of the outputs.
        normalization: of the images on which the model was trained.
        size: height and width to which all images are resized, of a model that takes no others; else None.
        multiple: pixels of a patch, of which images take whole numbers; 1 for other models than transformers.

    Raises:
        ConfigError: no such model, an output that is no map, or a level map of unknown outputs.
    """

    def __init__(self, name: str, level_map: Mapping[int, int] | None = None, **settings: Any) -> None:
        super().__init__()
        self.name = name
        self._from: tuple[Normalization, Normalization] | None = None
        self.of_timm = name.startswith(_TIMM)
        self.multiple, self._norm = 1, True
        self.size: tuple[int, int] | None = None
        if self.of_timm:
            self.model, self.normalization, self._convert = _timm_model(name.removeprefix(_TIMM), settings)
        elif name.startswith(_MMPRETRAIN):
            self.model, self.normalization = _mmpretrain_model(name, settings)
        else:
            raise ConfigError(f"FoundationBackbone: name is '{name}', give '{_TIMM}<model>' or '{_MMPRETRAIN}<config>'")
        own = self._own_size(settings)
        probed, strides = self._strides(list(dict.fromkeys([(_SIZE, _SIZE), own])))
        if len(set(strides)) == 1 and (self.of_timm or _stride_of_patches(self.model) == strides[0]):
            self.multiple = strides[0]  # timm returns all outputs, of one stride only if it is that of patches
        if not self._takes_other_sizes():
            self.size = probed
        self._outputs = _by_stride(strides) if level_map is None else _by_setting(name, level_map, len(strides))
        self.out_indices = tuple(self._outputs)

    def _own_size(self, settings: Mapping[str, Any]) -> tuple[int, int]:
        trained: Any = self.model.pretrained_cfg if self.of_timm else {}
        size = settings.get('img_size', (trained.get('input_size') or (3, _SIZE, _SIZE))[-2:])
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @torch.no_grad()
    def _strides(self, sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], list[int]]:
        """Return the first size on which the model runs, and the strides of its outputs."""
        self.model.eval()
        failures = []
        for size in sizes:
            for norm in (True, False) if self.of_timm else (True,):  # Hiera's norm is of its pooled features
                self._norm = norm
                try:
                    return size, self._strides_of(self._all_outputs(torch.zeros(1, 3, *size)), size)
                except ConfigError:
                    raise
                except Exception as error:  # whatever a model has against such an image
                    failures.append(f'{size[0]}x{size[1]}: {describe_error(error)}')
        raise ConfigError(f'{self.name} cannot run on an image of {"; nor of ".join(dict.fromkeys(failures))}')

    @torch.no_grad()
    def _takes_other_sizes(self) -> bool:
        step = self.multiple if self.multiple > 1 else 32
        try:
            self._all_outputs(torch.zeros(1, 3, 3 * step, 4 * step))
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

    def _all_outputs(self, x: Tensor) -> Sequence[Tensor]:
        model: Any = self.model
        # Transformers' last norm is applied to the tokens of every block, as DINOv2's intermediate layers are read.
        return model.forward_intermediates(x, intermediates_only=True, norm=self._norm) if self.of_timm else model(x)

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
        whole = [math.ceil(pixels / self.multiple) * self.multiple for pixels in x.shape[-2:]]
        size = whole if self.size is None else list(self.size)
        if size != list(x.shape[-2:]):
            x = F.interpolate(x, size, mode='bilinear', align_corners=False)
        outputs = self._all_outputs(x)
        return tuple(outputs[i] for i in self._outputs.values())

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


def _mmpretrain_model(name: str, settings: Mapping[str, Any]) -> tuple[nn.Module, Normalization]:
    try:
        cfg = get_config(name if name.endswith('.py') else f'{name}.py')
    except Exception as error:  # mmengine's own, for a missing file or package
        raise ConfigError(f"mmpretrain has no config '{name}': {describe_error(error)}") from error
    network = cfg.get('model', {})
    if not isinstance(network.get('backbone'), Mapping):
        raise ConfigError(f"mmpretrain's config '{name}' is not of a model with a backbone, as classifiers are")
    backbone = {'_scope_': 'mmpretrain', **network['backbone'].to_dict(), **settings}
    backbone.pop('init_cfg', None)
    known = inspect.signature(type_of(backbone, MODELS).__init__).parameters
    backbone.update({key: value for key, value in _MAPS.items() if key in known})
    preprocessor = {**cfg.get('data_preprocessor', {}), **network.get('data_preprocessor', {})}
    preprocessor = {'_scope_': 'mmpretrain', 'type': 'ClsDataPreprocessor', **preprocessor}
    return MODELS.build(without_library_defaults(backbone)), normalization_of(MODELS.build(preprocessor))


def _stride_of_patches(model: nn.Module) -> int | None:
    """Return the stride of mmpretrain's patch embedding, or None without one, as in CNNs."""
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
