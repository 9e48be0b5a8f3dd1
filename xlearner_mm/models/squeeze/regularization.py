"""Regularization of the squeeze: teachers left out at random, and mixed images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from math import inf
from typing import Any

import torch
from torch import Tensor

from xlearner_mm.errors import ConfigError, one_line

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def check_probability(owner: str, probability: Any) -> float:
    """Return a probability below 1.

    Raises:
        ConfigError: the value is not a number from 0 to below 1.
    """
    if not isinstance(probability, int | float) or not 0 <= probability < 1:
        raise ConfigError(f'{owner} must be a probability in [0, 1), got {probability!r}')
    return float(probability)


def check_teachers_to_drop(owner: str, drop: float, teachers: int) -> None:
    """Refuse a probability that leaves out none, as an image's worst teacher is kept.

    Args:
        owner: whose setting it is, for messages.
        drop: the probability.
        teachers: most teachers of an image.

    Raises:
        ConfigError: it is above 0, but no image has two teachers.
    """
    if drop and teachers < 2:
        raise ConfigError(
            f'{owner}: drop_teachers is {drop}, but every image has one teacher alone, which is never left out; set '
            "drop_teachers=0, or give images several teachers: supervise='all', or further_teachers"
        )


def keep_teachers(losses: Sequence[Tensor], rows: Sequence[Tensor | None], images: int, drop: float) -> list[Tensor]:
    """Leave out teachers at random: every one but the image's worst with a probability, each by itself.

    Args:
        losses: of every teacher, the loss of the images that it teaches, ``(R,)``.
        rows: of every teacher, the R rows that it teaches, or None for all.
        images: number of images B.
        drop: the probability.

    Returns:
        1 where a teacher is kept and 0 where it is left out, ``(R,)`` for every teacher.

    Source: "teacher dropping" of Sariyildiz et al., UNIC, arXiv 2408.05088, without its division by the number of
    teachers that are kept.
    """
    taught = torch.full((len(losses), images), -inf, device=losses[0].device)
    for all_rows, own, loss in zip(taught, rows, losses, strict=True):
        all_rows[slice(None) if own is None else own] = loss.detach().to(taught.dtype)
    # Drawn on the CPU, whose generator is seeded in every step: a replay elsewhere draws the same.
    kept = (torch.rand(taught.shape) >= drop).to(taught)
    kept.scatter_(0, taught.argmax(0, keepdim=True), 1.0)
    return [all_rows if own is None else all_rows[own] for all_rows, own in zip(kept, rows, strict=True)]


def build_mix(owner: str, config: Mapping[str, Any] | None) -> Mix | None:
    """Build mmpretrain's augmentation of batches, one or a random choice of several.

    Args:
        owner: whose setting it is, for messages.
        config: ``dict(type='Mixup', alpha=0.8)``, ``dict(type='CutMix', alpha=1.0)`` or another one of mmpretrain's
            ``BATCH_AUGMENTS``; ``dict(augments=[...], probs=[...])`` for several, see its ``RandomBatchAugment``; or
            None for none.

    Raises:
        ConfigError: an augmentation that mmpretrain does not know, or its settings.
    """
    if config is None:
        return None
    try:
        # Here, because `import xlearner_mm` is cheap.
        from mmpretrain.models.utils.batch_augments import RandomBatchAugment

        settings: dict[str, Any] = {'augments': config} if 'type' in config else dict(config)
        return RandomBatchAugment(**deepcopy(settings))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        example = "dict(type='Mixup', alpha=0.8), with alpha a float"
        raise ConfigError(f'{owner}: mix must be as {example}, got {config!r}: {one_line(error)}') from error


def mixed(mix: Mix, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mix the images of every source among themselves; a single image stays as it is.

    Args:
        mix: the augmentation, whose random numbers are of NumPy's and the CPU's generators, seeded in every step.
        inputs: source -> images ``(B, 3, H, W)``, which are not changed.
    """
    return {name: mix(images.clone(), images.new_zeros(len(images), 1))[0] for name, images in inputs.items()}
