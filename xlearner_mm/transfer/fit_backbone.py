"""A transfer config's backbone replaced by the one to transfer, and its readers sized for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from xlearner_mm.registry import bare_name
from xlearner_mm.transfer.architecture import Architecture
from xlearner_mm.transfer.checkpoint import CheckpointError
from xlearner_mm.transfer.start import Start

_WIDTHS = ('in_channels', 'c1_in_channels', 'input_features')
_HEADS = ('decode_head', 'auxiliary_head', 'head', 'bbox_head', 'rpn_head')
# What a downstream config chooses of any backbone.
_DOWNSTREAM = ('out_indices', 'frozen_stages', 'norm_eval')
# A classifier's necks hand on the channels they get, so its head reads the backbone too.
_PASSING = ('GlobalAveragePooling', 'GeneralizedMeanPooling', 'ClsBatchNormNeck')


def fit_backbone(cfg: Config, start: Start | None) -> None:
    """Make a transfer config take a backbone.

    Args:
        cfg: the config, changed in place.
        start: the backbone. None leaves the config's own, at its random start.

    Raises:
        CheckpointError: a part reads the backbone by a width that none of its levels has.
    """
    backbone = cfg.model.backbone
    if start is None:
        backbone.init_cfg = None
        return
    own = Architecture(backbone.depth, backbone.get('stem_channels', 64), backbone.get('base_channels', 64)).channels
    if start.expanded:
        kept = {setting: backbone[setting] for setting in _DOWNSTREAM if setting in backbone}
        cfg.model.backbone = {**start.backbone(), **kept}
    else:
        backbone.update(start.backbone())
    cfg.model.data_preprocessor.update(start.normalisation())
    if own != start.channels:
        for part in _readers(cfg.model):
            _resize(part, _widths(own, start.channels), start.checkpoint)


def _widths(old: Sequence[int], new: Sequence[int]) -> dict[int, int]:
    """Map the widths of the levels, and of the last two together, which depth heads read as one."""
    return dict(zip((*old, old[-2] + old[-1]), (*new, new[-2] + new[-1]), strict=True))


def _readers(model: Any) -> Iterator[Any]:
    """Yield the parts that read the backbone's levels."""
    necks = model.get('neck') or []
    necks = [necks] if isinstance(necks, Mapping) else necks
    for neck in necks:
        yield neck
        if bare_name(neck['type']) not in _PASSING:
            return
    for name in _HEADS:
        heads = model.get(name) or []
        yield from [heads] if isinstance(heads, Mapping) else heads


def _resize(part: Any, widths: Mapping[int, int], checkpoint: str) -> None:
    for setting in _WIDTHS:
        value = part.get(setting)
        try:
            if isinstance(value, int):
                part[setting] = widths[value]
            elif value is not None:
                part[setting] = [widths[width] for width in value]
        except KeyError as error:
            raise CheckpointError(
                f'{checkpoint}: {part["type"]}.{setting} is {value}, but {error.args[0]} is no width of a level of the '
                f"config's backbone {list(widths)}: its readers cannot be sized for this backbone"
            ) from None
