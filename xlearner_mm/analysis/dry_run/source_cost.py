"""Measured cost of one source's part of a training step, on fewer and smaller images where the whole is too large."""

from __future__ import annotations

import copy
import gc
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any
from unittest.mock import patch

import torch
from mmcv.ops.roi_align import ext_module
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.autograd.profiler import profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from xlearner_mm.flops import count_flops
from xlearner_mm.models.expansion import ExpansionLearner
from xlearner_mm.models.squeeze import FitNetDistiller


@dataclass(frozen=True)
class StepCost:
    """The cost of a forward and backward pass.

    Args:
        flops: of forward and backward; a multiply-add is two. Convolutions, matrix products and attention are counted.
        saved: bytes that the forward pass stores for the backward pass.
        extra: further bytes at the peak, without the gradients of parameters.
    """

    flops: float
    saved: float
    extra: float

    def scaled(self, factor: float) -> StepCost:
        """Return the cost of ``factor`` times the work."""
        return StepCost(self.flops * factor, self.saved * factor, self.extra * factor)

    def towards(self, other: StepCost, share: float) -> StepCost:
        """Extrapolate linearly from this cost (0) through another one (1)."""
        pairs = zip((self.flops, self.saved, self.extra), (other.flops, other.saved, other.extra), strict=True)
        return StepCost(*(max(0.0, a + share * (b - a)) for a, b in pairs))


def measure_step(loss: Callable[[], Tensor], parameters: Iterable[nn.Parameter]) -> StepCost:
    """Run a step on the CPU and return its cost; convolutions and matrix products are not computed.

    Args:
        loss: the forward pass.
        parameters: the trained ones.
    """
    # Existing gradients are added to and thus not counted as a cost of the step.
    for parameter in parameters:
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gc.collect()

    def step() -> None:
        value = loss()
        allocations.mark()
        value.backward()

    with Allocations() as allocations, _Uncomputed():
        flops = 2 * count_flops(step)
    saved = allocations.at_mark
    return StepCost(flops, saved, allocations.peak - saved)


_aten = torch.ops.aten
_PRODUCTS = (
    _aten.convolution.default, _aten.convolution_backward.default, _aten.mm.default, _aten.addmm.default,
    _aten.bmm.default, _aten.baddbmm.default,
)  # fmt: skip


class _Uncomputed(TorchDispatchMode):
    """Leave out the expensive kernels, whose cost depends on shapes alone.

    Convolutions and matrix products return small random numbers, as newly initialized layers do, gradients of
    convolutions and RoIAlign, which is no operation of PyTorch's, zeros.
    """

    def __enter__(self) -> _Uncomputed:
        self._kernels = ExitStack()
        for name in ('roi_align_forward', 'roi_align_backward'):  # they fill tensors of zeros
            self._kernels.enter_context(patch.object(ext_module, name, lambda *_, **__: None))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._kernels.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _PRODUCTS or not args[0].is_floating_point():
            return func(*args, **(kwargs or {}))
        shapes = func(*tree_map_only(Tensor, lambda tensor: _like(tensor, 'meta'), args), **(kwargs or {}))
        if isinstance(shapes, Tensor):
            return _like(shapes, 'cpu').normal_(0, 0.01)
        return tree_map_only(Tensor, lambda shape: _like(shape, 'cpu').zero_(), shapes)


def _like(tensor: Tensor, device: str) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


_ALLOCATION, _MARK = '[memory]', 'xlearner_mm: mark'


class Allocations:
    """Record the bytes allocated within a ``with`` block.

    Attributes:
        peak: most bytes at once, beyond those at the start of the block.
        at_mark: bytes at the call of :meth:`mark`.
    """

    def __init__(self) -> None:
        self.peak, self.at_mark = 0, 0
        # Else the profiler reports a machine without GPU as an error.
        os.environ.setdefault('KINETO_LOG_LEVEL', '99')
        self._profile = profile(use_cpu=True, profile_memory=True)

    def __enter__(self) -> Allocations:
        self._profile.__enter__()
        return self

    def mark(self) -> None:
        """Remember this moment."""
        with record_function(_MARK):
            pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._profile.__exit__(kind, error, trace)
        results = self._profile.kineto_results
        assert results is not None
        events = [
            event
            for event in results.events()
            if event.name() in (_ALLOCATION, _MARK) and event.device_type() == torch.autograd.DeviceType.CPU
        ]
        held = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            if event.name() == _MARK:
                self.at_mark = held
            else:
                held += event.nbytes()  # type: ignore[attr-defined]  # PyTorch's stub lacks it
                self.peak = max(self.peak, held)


PIXELS = 3 * 224 * 224
"""Larger batches are not run as a whole."""
_BYTES_PER_VALUE = 1 + 4  # of an image as it was read, and normalized


@dataclass(frozen=True)
class SourceCost:
    """The cost of a source's part of a step.

    Args:
        shape: of the batch, ``(B, 3, H, W)``.
        cost: of its forward and backward pass.
        tried: batch that it was measured with.
    """

    shape: tuple[int, ...]
    cost: StepCost
    tried: str

    @property
    def image_bytes(self) -> int:
        """Bytes of its images, part of what the forward pass stores."""
        return _image_bytes(self.shape)


def source_cost(
    model: BaseModel,
    source: str | None,
    items: list[dict[str, Any]],
    batch_size: int,
    half: bool = False,
    pixels: int = PIXELS,
) -> SourceCost:
    """Measure a source's part of a training step on the CPU.

    A batch of up to ``pixels`` pixels is run as a whole. For a larger one, costs at two sizes are measured, with fewer
    images, or smaller ones where two images are too large, and extrapolated linearly. Global attention costs more.

    Args:
        model: the whole model, in training mode.
        source: the source's name; None for a stock model.
        items: outputs of the source's pipeline for some images.
        batch_size: images of the step.
        half: run in 16 bits, as mixed precision does; in 32 where the CPU lacks an operation. Defaults to False.
        pixels: most pixels run at once. Defaults to :data:`PIXELS`.
    """
    try:
        return _tried_cost(model, source, items, batch_size, half, pixels)
    except RuntimeError as error:
        if not half or 'BFloat16' not in str(error):
            raise
    cost = _tried_cost(model, source, items, batch_size, False, pixels)
    return replace(cost, tried=f'{cost.tried}, in 32 bits: no less')


def _tried_cost(
    model: BaseModel, source: str | None, items: list[dict[str, Any]], batch_size: int, half: bool, pixels: int
) -> SourceCost:
    preprocessor = model.data_preprocessor if source is None else model.data_preprocessor.preprocessors[source]
    data = preprocessor(pseudo_collate(items), True)
    area = data['inputs'][0, 0].numel()
    shape = (batch_size, *data['inputs'].shape[1:])

    def tried(count: int, share: float = 1.0) -> tuple[int, StepCost]:
        batch = first(_repeated(data, count), count)
        if share < 1:
            batch = shrink(batch, share * area)
        return batch['inputs'].numel(), _measure(model, source, batch, half)

    if batch_size * area <= pixels:
        return SourceCost(shape, _with_images(tried(batch_size)[1], shape), 'the whole batch')
    few = min(batch_size, 2)
    if batch_size > 2 and 3 * area <= pixels:
        small, large, text, factor = tried(2), tried(3), 'batches of 2 and 3', 1.0
    else:
        share = pixels / (few * area)
        small, large = tried(few, share / 2), tried(few, share)
        text = f'{few} image(s) of {small[0] // (3 * few)} and {large[0] // (3 * few)} pixels'
        factor = batch_size / few

    def at(values: float) -> StepCost:
        return small[1].towards(large[1], (values - small[0]) / (large[0] - small[0]))

    whole = batch_size * 3 * area
    # Peaks such as the gradient of one layer's weights do not scale with the images.
    cost = replace(at(whole / factor).scaled(factor), extra=at(whole).extra)
    return SourceCost(shape, _with_images(cost, shape), text)


def _repeated(data: dict[str, Any], count: int) -> dict[str, Any]:
    have = len(data['inputs'])
    if have >= count:
        return data
    order = [i % have for i in range(count)]
    return {'inputs': data['inputs'][order], 'data_samples': [data['data_samples'][i] for i in order]}


def _with_images(cost: StepCost, shape: tuple[int, ...]) -> StepCost:
    return replace(cost, saved=cost.saved + _image_bytes(shape))


def _image_bytes(shape: tuple[int, ...]) -> int:
    return _BYTES_PER_VALUE * torch.Size(shape).numel()


def _measure(model: BaseModel, source: str | None, data: dict[str, Any], half: bool) -> StepCost:
    precision: AbstractContextManager = torch.autocast('cpu', dtype=torch.bfloat16) if half else nullcontext()

    def loss() -> torch.Tensor:
        with precision:
            return model.parse_losses(_losses(model, source, data))[0]

    return measure_step(loss, model.parameters())


def _losses(model: BaseModel, source: str | None, data: dict[str, Any]) -> Mapping[str, Any]:
    if source is None:
        return model(**data, mode='loss')
    if isinstance(model, ExpansionLearner):
        alone = copy.copy(model)
        alone.sources = {source: model.sources[source]}
        return alone.loss({source: data['inputs']}, {source: data['data_samples']})
    assert isinstance(model, FitNetDistiller)
    return model.loss({source: data['inputs']}, {source: data['data_samples']})


_STEP = 32  # of networks' strides, and of what detectors pad to
_SHAPES = ('img_shape', 'pad_shape', 'batch_input_shape')
_MAPS = ('gt_sem_seg', 'gt_depth_map')


def first(data: dict[str, Any], count: int) -> dict[str, Any]:
    """Return the first ``count`` images of a preprocessed batch, with copied labels."""
    return {'inputs': data['inputs'][:count], 'data_samples': copy.deepcopy(data['data_samples'][:count])}


def shrink(data: dict[str, Any], pixels: float) -> dict[str, Any]:
    """Return a preprocessed batch with images cropped to about ``pixels`` each, and labels scaled along.

    Args:
        data: ``inputs`` ``(B, 3, H, W)`` and ``data_samples`` of any of the stock libraries.
        pixels: wanted H' x W'. Sides are multiples of 32, and never grow.
    """
    height, width = data['inputs'].shape[-2:]
    factor = (pixels / (height * width)) ** 0.5
    h, w = (min(side, max(_STEP, round(side * factor / _STEP) * _STEP)) for side in (height, width))
    samples = [_shrink_labels(sample, (h, w), (h / height, w / width)) for sample in data['data_samples']]
    return {'inputs': data['inputs'][..., :h, :w].contiguous(), 'data_samples': samples}


def _shrink_labels(sample: Any, shape: tuple[int, int], factors: tuple[float, float]) -> Any:
    sample = copy.deepcopy(sample)
    sample.set_metainfo({key: shape for key in _SHAPES if key in sample})
    for key in _MAPS:
        if key in sample:
            # It does not take data of another size.
            labels = sample.get(key)
            sample.set_data({key: type(labels)(data=labels.data[..., : shape[0], : shape[1]])})
    for key in ('gt_instances', 'ignored_instances'):
        if key in sample and 'bboxes' in sample.get(key):
            instances = sample.get(key)
            instances.bboxes = instances.bboxes * instances.bboxes.new_tensor([factors[1], factors[0]] * 2)
            if 'masks' in instances:
                instances.masks = instances.masks.resize(shape)
    return sample
