"""Choices of a pretraining, as functions of the data, the device, and what the user asks for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import TYPE_CHECKING, Any

import torch

from xlearner_mm.config.text import Choice
from xlearner_mm.errors import ConfigError
from xlearner_mm.machine import usable_cores, usable_memory
from xlearner_mm.pretraining.networks import atss, faster_rcnn, fcn, linear_classifier, upernet

if TYPE_CHECKING:
    from xlearner_mm.layouts.layout import Layout

STRIDE = 32
"""Stride of a ResNet's last level."""
SHORT = 5000
"""Steps below which a training is short: stock heads and residual blocks start too slowly for it."""
_SMALLEST = 2 * STRIDE  # px
_LIMITS = {'cuda': {'cls': 224, 'seg': 512}, 'cpu': {'cls': 96, 'seg': 128}}  # px
_STOCK_SCALE = (1333, 800)
_OBJECT = 24  # px of the median object on a CPU
_CPU_SIDES = (128, 320)
_BATCHES = {'cls': (64, 32, 16), 'det': (16, 16, 8), 'seg': (16, 16, 8)}  # on a GPU; on a CPU: small and other images
_CROWDED = 10  # boxes an image
_UPERNET_FROM = 256  # px
_FEW_IMAGES = 10_000


@dataclass(frozen=True)
class Device:
    """The device that trains.

    Args:
        kind: ``'cuda'`` or ``'cpu'``.
        name: for people.
        memory: bytes that a training may take.
        flops: FLOP/s assumed until steps are measured.
    """

    kind: str
    name: str
    memory: float
    flops: float

    @property
    def title(self) -> str:
        """GPU or CPU."""
        return 'GPU' if self.kind == 'cuda' else 'CPU'


@dataclass(frozen=True)
class Backbone:
    """A plain ResNet: the branches and the student.

    Args:
        depth: 18, 34, 50, 101 or 152.
        width: channels of its stem; 64 is the standard one.
    """

    depth: int
    width: int

    @property
    def channels(self) -> list[int]:
        """Channels of its levels."""
        return [self.width * 2**level * (4 if self.depth >= 50 else 1) for level in range(4)]

    def settings(self, steps: int) -> dict[str, Any]:
        """Return the config for a training of so many steps."""
        own: dict[str, Any] = {'type': 'XLearnerResNet', 'depth': self.depth}
        own |= {} if self.width == 64 else {'stem_channels': self.width, 'base_channels': self.width}
        return own | ({'zero_init_residual': False} if steps < SHORT else {})


def find_device(wanted: str | None = None) -> Device:
    """Return the device to train on.

    Args:
        wanted: ``'cuda'`` or ``'cpu'``. Defaults to None: a GPU if there is one.

    Raises:
        ConfigError: another device, or no GPU.
    """
    if wanted not in (None, 'cuda', 'cpu'):
        raise ConfigError(f"device must be 'cuda' or 'cpu', got {wanted!r}; choose a GPU by CUDA_VISIBLE_DEVICES")
    there = torch.cuda.is_available()
    if wanted == 'cuda' and not there:
        raise ConfigError("device 'cuda': PyTorch finds no GPU here; leave the device out, or give 'cpu'")
    if there and wanted != 'cpu':
        found = torch.cuda.get_device_properties(0)
        return Device('cuda', found.name, 0.85 * found.total_memory, 30e12)
    cores = usable_cores()
    return Device('cpu', f'CPU of {cores} cores', 0.5 * usable_memory(), 8e9 * cores)


def choose_backbone(wanted: str | None, device: Device, images: int) -> tuple[Backbone, str]:
    """Return the backbone and the reason.

    Args:
        wanted: such as ``'resnet50'``; ``'resnet18-w16'`` is of base width 16. None: by device and data.
        device: that trains.
        images: of all sources for training.

    Raises:
        ConfigError: no such backbone.
    """
    if wanted is not None:
        found = re.fullmatch(r'resnet(18|34|50|101|152)(?:-w(\d*[48]|\d+[26]))?', wanted)
        if found is None or int(found[2] or 64) % 4:
            raise ConfigError(
                f"backbone '{wanted}' is unknown: give resnet18, resnet34, resnet50, resnet101 or resnet152, with -w16 "
                'behind it for a base width of 16 in place of 64 (a multiple of 4)'
            )
        return Backbone(int(found[1]), int(found[2] or 64)), 'as asked for'
    if device.kind == 'cpu':
        return Backbone(18, 16), 'on a CPU, as a quarter of the width takes about a sixteenth of the time'
    if images < _FEW_IMAGES:
        return Backbone(18, 64), f'{images:,} images are few for a ResNet-50 from scratch (from {_FEW_IMAGES:,} on)'
    return Backbone(50, 64), f'the standard backbone, for a GPU and {images:,} images'


def choose_size(layout: Layout, device: Device) -> Choice:
    """Return the size of a source's images in training: a side, or the long and short sides of detection."""
    sizes = layout.sizes
    if layout.task == 'det':
        return _detection_size(layout, device)
    limit = _LIMITS[device.kind][layout.task]
    side = min(max(_multiple(sizes.short), _SMALLEST), limit)
    reason = (
        f'the median shorter side is {sizes.short} px; a multiple of the stride {STRIDE}, from {_SMALLEST} to, on a '
        f'{device.title}, {limit}'
    )
    return Choice('size', side, reason)


def _detection_size(layout: Layout, device: Device) -> Choice:
    short, long, objects = layout.sizes.short, layout.sizes.long, layout.objects
    if device.kind == 'cuda' or objects is None:
        factor = min(1.0, _STOCK_SCALE[0] / long, _STOCK_SCALE[1] / short)
        why = f"at most the stock detectors' {_STOCK_SCALE[0]} x {_STOCK_SCALE[1]}"
    else:
        wanted = _OBJECT / (objects.relative_size * math.sqrt(short * long))
        least, most = (side / long for side in _CPU_SIDES)
        factor = min(1.0, max(least, min(most, wanted)))
        sides = f'{_CPU_SIDES[0]} to {_CPU_SIDES[1]} px'
        why = f'on a CPU, at most what gives the median object {_OBJECT} px, and a longer side of {sides}'
    scale = max(_multiple(long * factor), _SMALLEST), max(_multiple(short * factor), _SMALLEST)
    if factor == 1.0:
        why = 'images are not enlarged'
    reason = f'the median image has {long} x {short} px; {why}; multiples of {STRIDE}'
    return Choice('size', scale, reason)


def _multiple(side: float) -> int:
    return max(1, round(side / STRIDE)) * STRIDE


def choose_batch_size(layout: Layout, device: Device, size: Any) -> Choice:
    """Return the images of a source in every step, before memory is considered."""
    on_gpu, small, other = _BATCHES[layout.task]
    if device.kind == 'cuda':
        wanted, why = on_gpu, 'for the task on one GPU'
    else:
        is_small = max(size if isinstance(size, tuple) else (size,)) <= _SMALLEST
        wanted, why = (small, 'for small images') if is_small else (other, 'for larger images on a CPU')
    most = max(1, layout.train.images // 2)
    if most < wanted:
        return Choice('batch_size', most, f'images a step, half of the {layout.train.images} there are')
    return Choice('batch_size', wanted, f'images a step, as usual {why}')


def fitting(batch_size: Choice, factor: float, device: Device) -> Choice:
    """Return a batch size, reduced by a factor so that the training fits into memory."""
    if factor == 1:
        return batch_size
    fits = max(1, int(batch_size.value * factor))
    memory = f'{device.memory / 1e9:.1f} GB'
    return Choice('batch_size', fits, f'images a step, of {batch_size.value} what fits into {memory}')


def choose_network(
    layout: Layout, device: Device, backbone: Backbone, size: Any, steps: int, pixels: Sequence[float] = ()
) -> Choice:
    """Return the stock network of a source.

    Args:
        layout: of the source.
        device: that trains.
        backbone: for its channels.
        size: of the images, as :func:`choose_size` returns it.
        steps: of the training, which decides how heads start.
        pixels: share of every class in the pixels, of segmentation. Defaults to none: all classes weigh the same.
    """
    channels, classes, short = backbone.channels, len(layout.classes), steps < SHORT
    start = '; larger initial weights than the stock 0.01, for a short training' if short else ''
    if layout.task == 'cls':
        network = linear_classifier(channels, classes, 0.1 if short else 0.01)
        return Choice('network', network, f'a linear classifier, so that the backbone learns most{start}')
    if layout.task == 'seg':
        if size >= _UPERNET_FROM:
            network, reason = upernet(channels, classes), f'UPerNet: crops of {size} px have context to pool'
        else:
            network = fcn(channels, classes, 0.05 if short else 0.01)
            reason = f'FCN over all levels: crops of {size} px, below {_UPERNET_FROM}, leave little to pool{start}'
        weights = class_weights(pixels) if short else None
        if weights:
            network['decode_head']['loss_decode']['class_weight'] = weights
            largest = layout.classes[weights.index(min(weights))]
            reason += f"; classes weighted, as '{largest}' has {max(pixels):.0%} of the pixels: a short training would"
            reason += ' learn nothing else'
        return Choice('network', network, reason)
    assert layout.objects is not None
    per_image = layout.objects.per_image
    if device.kind == 'cuda' and per_image > _CROWDED and max(size) >= 512:
        reason = (
            f'Faster R-CNN: {per_image:.1f} boxes an image (more than {_CROWDED}) overlap, which two stages separate'
        )
        return Choice('network', faster_rcnn(channels, classes), reason)
    levels = 3 if max(size) < 256 else 4 if max(size) < 512 else 5
    side = layout.objects.relative_size * math.sqrt(size[0] * size[1])
    anchor = min(8, max(2, round(side / 8)))
    network = atss(channels, classes, 0.05 if short else 0.01, levels, anchor)
    reason = (
        f'ATSS: {per_image:.1f} boxes an image need no second stage; {levels} levels for sides of {max(size)} px, and '
        f'anchors of {8 * anchor} px at stride 8, for a median object of {side:.0f} px{start}'
    )
    return Choice('network', network, reason)


def class_weights(pixels: Sequence[float]) -> list[float] | None:
    """Return a weight of at most 1 for every class: the root of the (lower) median share of pixels over its own.

    Args:
        pixels: share of every class; 0 for one that was not seen.

    Returns:
        None where no class weighs less than half: they are about equally frequent.
    """
    seen = [share for share in pixels if share]
    weights = [round(min(1.0, math.sqrt(median_low(seen) / share)), 3) if share else 1.0 for share in pixels]
    return weights if min(weights, default=1.0) < 0.5 else None


@dataclass(frozen=True)
class Peak:
    """Estimated memory of a stage, in bytes.

    Args:
        fixed: what does not depend on the batch.
        least: what an update takes beyond.
        batch: what the batch takes beyond.
    """

    fixed: float
    least: float
    batch: float

    def bytes(self, factor: float) -> float:
        """Return the peak with batches of that factor."""
        return self.fixed + max(self.least, factor * self.batch)


def factor_that_fits(peaks: Sequence[Peak], memory: float) -> float:
    """Return the factor, 1 or a power of a half, by which the batches of all stages fit into memory.

    Args:
        peaks: of the stages.
        memory: bytes.

    Raises:
        ConfigError: a sixteenth does not fit.
    """
    for factor in (1.0, 0.5, 0.25, 0.125, 0.0625):
        if all(peak.bytes(factor) <= memory for peak in peaks):
            return factor
    needed = max(peak.bytes(0.0625) for peak in peaks)
    raise ConfigError(
        f'a sixteenth of the usual batches takes {needed / 1e9:.1f} GB, and there are {memory / 1e9:.1f}: give a '
        'smaller --backbone, such as resnet18'
    )
