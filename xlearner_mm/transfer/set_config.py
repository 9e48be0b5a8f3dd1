"""The config of one transfer: a set's config with a backbone, a protocol and a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from xlearner_mm.datasets.source import SourceError
from xlearner_mm.engine.config_options import load_config, parse_option
from xlearner_mm.engine.recipe_steps import counts_epochs
from xlearner_mm.pipeline.state import write_aside
from xlearner_mm.transfer.fit_backbone import fit_backbone
from xlearner_mm.transfer.fractions import draw_fraction, leaf_datasets
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.start import Start

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
        SourceError: an option that cannot be read, or a training set that cannot be.
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
    write_aside(path, cfg.pretty_text)
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
        raise SourceError(
            f'{fraction:g} of the training set cannot be drawn: {type(error).__name__}: {error} '
            f'(dataset {dataset.get("type")}, data_root {dataset.get("data_root")!r})'
        ) from error
    write_aside(folder / FRACTION_FILE, json.dumps(record) + '\n')
    if counts_epochs(cfg):
        # As many optimizer steps as of the whole set: the drawn images again and again make its epoch.
        for leaf, part in zip(leaf_datasets(dataset), record['parts'], strict=True):
            leaf['indices'] = np.resize(part['indices'], part['total']).tolist()
