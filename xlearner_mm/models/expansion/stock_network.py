"""Build a source's stock network around a port, and refuse what cannot work."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from xlearner_mm.errors import SourceError
from xlearner_mm.models.backbones.xlearner_resnet import pretrained_entries
from xlearner_mm.models.class_weights import check_class_weights
from xlearner_mm.models.data_preprocessor import require_preprocessor
from xlearner_mm.models.expansion.branch import Branch
from xlearner_mm.models.expansion.expanded_backbone import XLearnerExpandedBackbone
from xlearner_mm.registry import MODELS, bare_name, type_of
from xlearner_mm.sources import Source

# F^t by level of images (B, 3, H, W), for the name of a task.
ForwardTask = Callable[[Tensor, str], Sequence[Tensor] | Mapping[int, Tensor]]


@MODELS.register_module()
class TaskPort(BaseModule):
    """A backbone without parameters whose ``forward(x)`` is F^t of the shared expanded backbone.

    Args:
        task: the task t.
        out_indices: levels handed to the network's neck or head. Defaults to (0, 1, 2, 3).
    """

    def __init__(self, task: str, out_indices: Sequence[int] = (0, 1, 2, 3)) -> None:
        super().__init__()
        self.task = task
        self.out_indices = tuple(out_indices)
        # A function, no module: the parameters behind it belong to the learner.
        self._forward_task: ForwardTask | None = None
        self._served: tuple[Tensor, tuple[Tensor, ...]] | None = None

    def bind(self, forward_task: ForwardTask) -> None:
        """Read from a function of images and task from now on, as ``XLearnerExpandedBackbone.forward_task``."""
        self._forward_task = forward_task

    @contextmanager
    def serving(self, x: Tensor, levels: tuple[Tensor, ...]) -> Iterator[None]:
        """Answer ``forward(x)`` with features that were computed already, in one pass with other sources' images.

        Args:
            x: this source's images ``(B, 3, H, W)``; any other input is computed as ever.
            levels: F^t of them, all levels.
        """
        self._served = (x, levels)
        try:
            yield
        finally:
            self._served = None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the task's features of ``out_indices`` for images ``(B, 3, H, W)``.

        Raises:
            RuntimeError: the port was never bound.
        """
        if self._forward_task is None:
            raise RuntimeError(
                f"the port of task '{self.task}' is not bound to an expanded backbone; networks with ports "
                'are built by ExpansionLearner'
            )
        if self._served is not None and self._served[0] is x:
            levels: Sequence[Tensor] | Mapping[int, Tensor] = self._served[1]
        else:
            levels = self._forward_task(x, self.task)
        return tuple(levels[i] for i in self.out_indices)


def port_of(network: nn.Module) -> TaskPort | None:
    """Return the port within a stock network, or None if it has none (or several)."""
    ports = [module for module in network.modules() if isinstance(module, TaskPort)]
    return ports[0] if len(ports) == 1 else None


def build_stock_network(source: Source, expanded: XLearnerExpandedBackbone) -> nn.Module:
    """Build the network of a source with its backbone replaced by the port of the source's task.

    Of the stock backbone's settings only ``out_indices`` counts: the levels handed to neck or heads, by default all.

    Args:
        source: the source, whose ``network`` is a config of mmdet, mmseg or mmpretrain.
        expanded: the expanded backbone behind the port.

    Raises:
        SourceError: the task has no branch, the network has no replaceable backbone or no data preprocessor, or
            its levels or ``in_channels`` do not fit the branch, or weights of classes not its head.
    """
    if source.task not in expanded.tasks:
        raise SourceError(
            f"source '{source.name}': unknown task '{source.task}'; "
            f'the expanded backbone serves {sorted(expanded.tasks)}'
        )
    if not source.network.get('type'):
        raise SourceError(
            f"source '{source.name}': `network` is missing; give the config of a stock network with its head"
        )
    branch = expanded.branches[expanded.branch_of(source.task)]
    _check_takes_a_backbone(source)
    require_preprocessor(source)
    settings = {**_without_checkpoint(source, branch), 'backbone': _port_config(source, branch)}
    # Stock heads read their settings as attributes.
    network = MODELS.build(ConfigDict(settings))
    port = port_of(network)
    if port is None:
        raise SourceError(
            f"source '{source.name}': {type(network).__name__} builds its backbone inside instead of from its "
            '`backbone` setting, so no port can be put in its place'
        )
    port.bind(expanded.forward_task)
    check_class_weights(f"source '{source.name}'", network)
    check_channels(source, network, [branch.channels[i] for i in port.out_indices])
    return network


def _check_takes_a_backbone(source: Source) -> None:
    """Refuse networks that have no backbone of their own, before their class complains of an unknown argument."""
    kind: Any = type_of(source.network, MODELS)
    if not hasattr(kind, '__mro__'):
        return  # an unknown type is reported by the registry itself
    if any('backbone' in inspect.signature(cls.__init__).parameters for cls in kind.__mro__):
        return
    inner = [key for key, value in source.network.items() if isinstance(value, Mapping) and 'backbone' in value]
    wraps = f' (its `{inner[0]}` is a network with one: give that as the `network`)' if inner else ''
    raise SourceError(
        f"source '{source.name}': {kind.__name__} has no `backbone` setting, so no port can be put in its place{wraps}"
    )


def _port_config(source: Source, branch: Branch) -> dict[str, Any]:
    backbone = source.network.get('backbone') or {}
    levels = len(branch.channels)
    out_indices: Sequence[int] = backbone.get('out_indices', tuple(range(levels)))
    beyond = [i for i in out_indices if not 0 <= i < levels]
    if beyond:
        raise SourceError(
            f"source '{source.name}': its network reads level(s) {beyond}, but its branch has levels 0 to {levels - 1}"
        )
    closed = [i for i in out_indices if i not in branch.output_levels]
    if closed:
        raise SourceError(
            f"source '{source.name}': its network reads level(s) {closed}, but its branch '{branch.name}' "
            f'({type(branch.backbone).__name__}) only has output norms for {list(branch.output_levels)}; '
            'set out_indices of the branch, or of the backbone in `network`'
        )
    return {'type': 'TaskPort', 'task': source.task, 'out_indices': tuple(out_indices)}


def _without_checkpoint(source: Source, branch: Branch) -> dict[str, Any]:
    """Return the network's settings without a checkpoint for the backbone that the port replaces; log it."""
    settings = dict(source.network)
    start = pretrained_entries((settings.get('backbone') or {}).get('init_cfg'))
    named = start[0].get('checkpoint') if start else None
    if 'decode_head' in settings:
        # mmseg's segmentors hand `pretrained` on to their backbone; elsewhere it means the whole network.
        named = settings.pop('pretrained', None) or named
    if named:
        print_log(
            f"source '{source.name}': the checkpoint of its stock backbone, {named}, is not loaded; branch "
            f"'{branch.name}' starts from its own init_cfg",
            logger='current',
            level=logging.WARNING,
        )
    return settings


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


_HEADS = ('decode_head', 'auxiliary_head', 'bbox_head', 'rpn_head', 'mask_head', 'panoptic_head', 'head')
# Necks that keep the number of channels.
_POOLINGS = ('GlobalAveragePooling', 'GeneralizedMeanPooling')


def check_channels(source: Source, network: nn.Module, available: Sequence[int]) -> None:
    """Compare what every first reader of the backbone expects with what the branch has.

    Args:
        source: the source, with the settings of the parts in ``network``.
        network: the network built of it.
        available: channels of every level that the port returns.

    Raises:
        SourceError: a neck's or head's ``in_channels`` (or ``c1_in_channels``) differ, or it reads a level that is
            not returned.
    """
    for name, settings, module in _readers(source.network, network):
        expected = settings.get('in_channels', getattr(module, 'in_channels', None))
        if expected is not None:
            read = _levels_read(source, name, settings, expected, available)
            _compare(source, f'{name}.in_channels', expected, read, available)
        if settings.get('c1_in_channels'):
            # DeepLabV3+ also reads the first level, whatever in_index is.
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
    if bare_name(settings.get('type', '')) == 'YOLOV3Neck':
        return list(reversed(available))  # it lists its levels from the last one
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
            f'{found if len(found) > 1 else found[0]} at the levels it reads (all levels of the port: '
            f'{list(available)}); correct it, or choose levels by out_indices of the backbone in `network`'
        )
