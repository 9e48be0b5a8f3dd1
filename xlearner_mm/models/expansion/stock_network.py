"""Build a source's stock network around a port, and refuse what cannot work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import ConfigDict
from torch import nn

from xlearner_mm.datasets.source import Source, SourceError
from xlearner_mm.models.expansion.expanded_backbone import XLearnerExpandedBackbone
from xlearner_mm.models.expansion.task_port import port_of
from xlearner_mm.registry import MODELS

# Parts of stock networks that read the backbone, in the order in which one takes precedence over the next.
_READERS = ('neck', 'decode_head', 'auxiliary_head', 'bbox_head', 'rpn_head', 'head')


def build_stock_network(source: Source, expanded: XLearnerExpandedBackbone) -> nn.Module:
    """Build the network of a source with its backbone replaced by the port of the source's task.

    Args:
        source: the source, whose ``network`` is a config of mmdet, mmseg or mmpretrain.
        expanded: the expanded backbone behind the port.

    Raises:
        SourceError: the task has no branch, the network has no replaceable backbone, or a head's
            ``in_channels`` do not fit the branch.
    """
    if source.task not in expanded.tasks:
        raise SourceError(
            f"source '{source.name}': unknown task '{source.task}'; "
            f'the expanded backbone serves {sorted(expanded.tasks)}'
        )
    port = _port_config(source, len(expanded.channels_of(source.task)))
    # Stock heads read their settings as attributes.
    network = MODELS.build(ConfigDict({**source.network, 'backbone': port}))
    built_port = port_of(network)
    if built_port is None:
        raise SourceError(
            f"source '{source.name}': {type(network).__name__} builds its backbone inside instead of from its "
            '`backbone` setting, so no port can be put in its place'
        )
    built_port.bind(expanded)
    available = [expanded.channels_of(source.task)[i] for i in built_port.out_indices]
    _check_channels(source, network, available)
    return network


def _port_config(source: Source, levels: int) -> dict[str, Any]:
    if not source.network.get('type'):
        raise SourceError(
            f"source '{source.name}': `network` is missing; give the config of a stock network with its head"
        )
    backbone = source.network.get('backbone') or {}
    out_indices: Sequence[int] = backbone.get('out_indices', tuple(range(levels)))
    beyond = [i for i in out_indices if not 0 <= i < levels]
    if beyond:
        raise SourceError(
            f"source '{source.name}': its network reads level(s) {beyond}, but its branch has levels 0 to {levels - 1}"
        )
    return {'type': 'TaskPort', 'task': source.task, 'out_indices': tuple(out_indices)}


def _check_channels(source: Source, network: nn.Module, available: Sequence[int]) -> None:
    """Compare what the first reader of the backbone expects with what the branch has."""
    readers = [(name, getattr(network, name, None)) for name in _READERS]
    # With a neck the heads read the neck; a neck that does not say its channels passes them on.
    if getattr(network, 'with_neck', False) and hasattr(readers[0][1], 'in_channels'):
        readers = readers[:1]
    for reader_name, reader in readers:
        for module in reader if isinstance(reader, nn.ModuleList) else [reader]:
            expected = getattr(module, 'in_channels', None)
            if expected is None:
                continue
            found = _read_levels(module, available)
            if _as_list(expected) not in (found, [sum(found)]):
                raise SourceError(
                    f"source '{source.name}': {reader_name}.in_channels is {expected}, but the branch of task "
                    f"'{source.task}' gives {found if len(found) > 1 else found[0]} at the levels it reads "
                    f'(all levels handed over: {list(available)})'
                )


def _read_levels(module: Any, available: Sequence[int]) -> list[int]:
    index = getattr(module, 'in_index', None)
    if index is None:
        # mmdet's necks list one in_channels per level; single-level heads read the last one.
        several = isinstance(getattr(module, 'in_channels', None), Sequence)
        return list(available) if several else [available[-1]]
    return [available[i] for i in ([index] if isinstance(index, int) else index)]


def _as_list(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


def losses_of(source: Source, losses: Mapping[str, Any]) -> dict[str, Any]:
    """Prefix a network's losses by the source, and weight those that are summed.

    Args:
        source: the source, with its ``loss_weight``.
        losses: the network's own names -> tensors or lists of tensors.
    """
    out = {}
    for name, value in losses.items():
        # mmengine sums what has 'loss' in its name; the rest (accuracies) is only logged.
        weight = source.loss_weight if 'loss' in name else 1.0
        if weight != 1.0:
            value = [v * weight for v in value] if isinstance(value, list) else value * weight
        out[f'{source.name}.{name}'] = value
    return out
