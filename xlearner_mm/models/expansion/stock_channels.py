"""Whether the parts of a stock network fit the levels that a port hands over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from xlearner_mm.datasets.source import Source, SourceError
from xlearner_mm.registry import bare_name

_HEADS = ('decode_head', 'auxiliary_head', 'bbox_head', 'rpn_head', 'mask_head', 'panoptic_head', 'head')
# Necks that hand on the channels they get.
_POOLINGS = ('GlobalAveragePooling', 'GeneralizedMeanPooling')


def check_channels(source: Source, network: nn.Module, available: Sequence[int]) -> None:
    """Compare what every first reader of the backbone expects with what the branch has.

    Args:
        source: the source, whose ``network`` says what its parts expect.
        network: the network built of it.
        available: channels of every level that the port hands over.

    Raises:
        SourceError: a neck's or head's ``in_channels`` (or ``c1_in_channels``) differ, or it reads a level that is
            not handed over.
    """
    for name, settings, module in _readers(source.network, network):
        expected = settings.get('in_channels', getattr(module, 'in_channels', None))
        if expected is not None:
            read = _levels_read(source, name, settings, expected, available)
            _compare(source, f'{name}.in_channels', expected, read, available)
        if settings.get('c1_in_channels'):
            # DeepLabV3+ joins the first level in, whatever in_index says.
            _compare(source, f'{name}.c1_in_channels', settings['c1_in_channels'], [available[0]], available)


def _readers(cfg: Mapping[str, Any], network: nn.Module) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """The parts that read the backbone, with their settings: the neck, or, where there is none, all heads."""
    for part, module in _parts(cfg.get('neck'), getattr(network, 'neck', None)):
        if bare_name(part.get('type', '')) not in _POOLINGS:
            # What comes after it reads its channels, not the branch's.
            yield 'neck', part, module
            return
    for name in _HEADS:
        for part, module in _parts(cfg.get(name), getattr(network, name, None)):
            yield name, part, module


def _parts(settings: Any, built: Any) -> list[tuple[Mapping[str, Any], Any]]:
    """Pair one part's settings, or a list of several parts', with what was built of them."""
    if isinstance(settings, Mapping):
        return [(settings, built)]
    if isinstance(settings, Sequence) and built is not None:
        return list(zip(settings, built, strict=False))
    return []


def _levels_read(
    source: Source, name: str, settings: Mapping[str, Any], expected: Any, available: Sequence[int]
) -> list[int]:
    """Channels of the levels that a part reads: by its ``in_index``; else all if it lists several, else the last."""
    index = settings.get('in_index')
    if index is None:
        return list(available) if isinstance(expected, Sequence) else [available[-1]]
    try:
        return [available[i] for i in ([index] if isinstance(index, int) else index)]
    except IndexError:
        raise SourceError(
            f"source '{source.name}': {name}.in_index is {index}, but only {len(available)} level(s) are handed "
            'over; in_index counts within the out_indices of the backbone in `network`'
        ) from None


def _compare(source: Source, setting: str, expected: Any, found: list[int], available: Sequence[int]) -> None:
    wanted = list(expected) if isinstance(expected, Sequence) else [expected]
    if wanted != found:
        raise SourceError(
            f"source '{source.name}': {setting} is {expected}, but the branch of task '{source.task}' gives "
            f'{found if len(found) > 1 else found[0]} at the levels it reads (all levels handed over: '
            f'{list(available)}); correct it, or choose levels by out_indices of the backbone in `network`'
        )
