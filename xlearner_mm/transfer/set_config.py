"""The config of one transfer: a set's config with a backbone, a protocol and a seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.config.options import load_config, parse_option
from xlearner_mm.engine.recipe_steps import counts_epochs
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.export.start import Start, resnet_channels
from xlearner_mm.registry import bare_name
from xlearner_mm.transfer.fractions import draw_fraction, leaf_datasets
from xlearner_mm.transfer.protocol import Protocol

FRACTION_FILE = 'data_fraction.json'


def set_config(
    config: Path,
    folder: Path,
    start: Start | None,
    protocol: Protocol,
    seed: int = 0,
    name: str = '',
    options: Sequence[str] = (),
) -> Config:
    """Return the config that one transfer is trained with.

    Args:
        config: of the transfer set.
        folder: its work directory, which gets the record of a data fraction.
        start: the backbone; None is the random start.
        protocol: how it is judged.
        seed: of the training and of the fraction. Defaults to 0.
        name: of the set, which decides with the seed what a fraction draws. Defaults to the config's own.
        options: ``KEY=VALUE`` overrides, applied last but for the data fraction. Defaults to none.

    Raises:
        FileNotFoundError: no such config.
        CheckpointError: a backbone that the config cannot take.
        ConfigError: an option that cannot be read, or a training set that cannot be.
    """
    cfg = load_config(str(config), str(folder), (), 'none')
    init_default_scope(cfg.default_scope)
    fit_backbone(cfg, start)
    if protocol.frozen is not None:
        _set_frozen(cfg, protocol.frozen)
    if start is None and not is_frozen(cfg):
        _train_all(cfg)
    cfg.merge_from_dict({'randomness': {'seed': seed}})
    if options:
        cfg.merge_from_dict(dict(parse_option(option) for option in options))
    if protocol.data_fraction < 1:
        _reduce(cfg, folder, name or config.stem, protocol.data_fraction, seed)
    return cfg


def write_config(cfg: Config, folder: Path, name: str) -> Path:
    """Write a config, whole, into a work directory; return its path.

    Args:
        cfg: the config.
        folder: the work directory.
        name: of the file.
    """
    path = folder / name
    atomic_write_text(path, cfg.pretty_text)
    return path


def is_frozen(cfg: Config) -> bool:
    """Return whether a config's backbone is frozen as a whole."""
    return int(cfg.model.backbone.get('frozen_stages', -1)) >= 4


def _set_frozen(cfg: Config, frozen: bool) -> None:
    if frozen:
        cfg.model.backbone.update(frozen_stages=4, norm_eval=True)
    elif is_frozen(cfg):  # a recipe that fine-tunes stays as it is: detection's keeps stage 0 and BN statistics
        _train_all(cfg)
        cfg.merge_from_dict(cfg.get('finetune', {}))


def _train_all(cfg: Config) -> None:
    """Leave nothing as it starts: of a random start neither a frozen stage nor a BN statistic is worth keeping."""
    cfg.model.backbone.update(frozen_stages=-1, norm_eval=False)


def _reduce(cfg: Config, folder: Path, name: str, fraction: float, seed: int) -> None:
    dataset = cfg.train_dataloader.dataset
    try:
        record = draw_fraction(dataset, name, fraction, seed, cfg.default_scope)
    except Exception as error:
        raise ConfigError(
            f'{fraction:g} of the training set cannot be drawn: {type(error).__name__}: {error} '
            f'(dataset {dataset.get("type")}, data_root {dataset.get("data_root")!r})'
        ) from error
    atomic_write_text(folder / FRACTION_FILE, json.dumps(record) + '\n')
    if counts_epochs(cfg):
        # As many optimizer steps as of the whole set: the drawn images again and again make its epoch.
        for leaf, part in zip(leaf_datasets(dataset), record['parts'], strict=True):
            leaf['indices'] = np.resize(part['indices'], part['total']).tolist()


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
    own = resnet_channels(backbone.depth, backbone.get('base_channels', 64))
    if start.expanded:
        kept = {setting: backbone[setting] for setting in _DOWNSTREAM if setting in backbone}
        cfg.model.backbone = {**start.backbone(), **kept}
    else:
        backbone.update(start.backbone())
    cfg.model.data_preprocessor.update(start.normalization())
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
