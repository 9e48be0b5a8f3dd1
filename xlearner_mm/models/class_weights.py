"""Weights of classes in a network's losses: as many as its heads have classes."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

from torch import Tensor, nn

from xlearner_mm.errors import SourceError

_PER_CLASS = ('class_weight', 'pos_weight', 'alpha')
"""Settings of losses that may be a list with one value for each class."""


def check_class_weights(owner: str, network: nn.Module) -> None:
    """Refuse losses whose settings are of another number of classes than their head has.

    The libraries compare them in the first step, after all data have been read, or broadcast them.

    Args:
        owner: whose network it is, for messages.
        network: of any library.

    Raises:
        SourceError: names the loss, the setting and both numbers.
    """
    for path, loss, head in _losses(network):
        expected = _class_counts(head)
        for setting in _PER_CLASS:
            value: Any = getattr(loss, setting, None)
            if _is_list(value) and len(value) not in expected:
                wanted = ' or '.join(map(str, sorted(expected)))
                raise SourceError(
                    f'{owner}: {path}.{setting} has {len(value)} values, but {type(head).__name__} of '
                    f'{head.num_classes} classes needs {wanted}: give it as many'
                )
        named = getattr(loss, 'num_classes', None)
        if isinstance(named, int) and named != head.num_classes:
            raise SourceError(
                f'{owner}: {path}.num_classes is {named}, but {type(head).__name__} has {head.num_classes} classes: '
                f'set num_classes={head.num_classes} of {type(loss).__name__}'
            )


def _losses(module: nn.Module, head: Any = None, path: str = '') -> Iterator[tuple[str, nn.Module, Any]]:
    """Yield path, loss and the innermost head around it."""
    for name, part in module.named_children():
        here = f'{path}.{name}' if path else name
        if 'Loss' in type(part).__name__:
            if head is not None:
                yield here, part, head
            continue
        counts = isinstance(getattr(part, 'num_classes', None), int)
        yield from _losses(part, part if counts else head, here)


def _class_counts(head: Any) -> set[int]:
    """Return the possible numbers of outputs of a head: mmdet's with softmax count the background."""
    stated = getattr(head, 'cls_out_channels', None)
    if isinstance(stated, int):
        return {stated}
    binary = getattr(head, 'out_channels', None)  # mmseg's heads of two classes may have one channel
    possible = {head.num_classes, head.num_classes + 1, *([binary] if binary == 1 else [])}
    given = [getattr(part, 'out_features', getattr(part, 'out_channels', None)) for part in head.modules()]
    return {count for count in possible if count in given} or possible


def _is_list(value: Any) -> bool:
    return value.ndim == 1 if isinstance(value, Tensor) else isinstance(value, Sized) and not isinstance(value, str)
