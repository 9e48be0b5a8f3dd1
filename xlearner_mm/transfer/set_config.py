"""The config of one transfer: a set's config with a backbone, a protocol, a seed and a share of the images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.config.options import load_config, parse_option
from xlearner_mm.engine.schedule import counts_epochs
from xlearner_mm.errors import CheckpointError, ConfigError, describe_error
from xlearner_mm.export.start import Start, resnet_channels
from xlearner_mm.photos import check_photos_of
from xlearner_mm.registry import DATASETS, METRICS, bare_name, type_of
from xlearner_mm.spread import classes_to_draw_by, stratified
from xlearner_mm.tasks import TASKS
from xlearner_mm.transfer.protocol import Protocol

FRACTION_FILE = 'data_fraction.json'
"""File in a work directory with the images of a data fraction."""


def set_config(
    config: Path,
    folder: Path,
    start: Start | None,
    protocol: Protocol,
    seed: int = 0,
    name: str = '',
    options: Sequence[str] = (),
) -> Config:
    """Return the config of one transfer.

    Args:
        config: of the transfer set.
        folder: work directory, for the record of a data fraction.
        start: the backbone; None is the random start.
        protocol: by which it is judged.
        seed: of the training and of the fraction. Defaults to 0.
        name: of the set, part of the fraction's seed. Defaults to the config's own.
        options: ``KEY=VALUE`` overrides, applied last except for the data fraction. Defaults to none.

    Raises:
        FileNotFoundError: there is no such config.
        CheckpointError: a backbone that does not fit the config.
        ConfigError: an invalid option, an unreadable training set, an incomplete set of photographs, or a detection
            metric that no evaluator returns.
    """
    cfg = load_config(str(config), str(folder), (), 'none')
    init_default_scope(cfg.default_scope)
    fit_backbone(cfg, start)
    backbone = cfg.model.backbone
    if protocol.frozen:
        backbone.update(frozen_stages=4, norm_eval=True)
    elif protocol.frozen is False and is_frozen(cfg):
        # A recipe that fine-tunes is kept: detection freezes stage 0 and BN statistics.
        backbone.update(frozen_stages=-1, norm_eval=False)
        cfg.merge_from_dict(cfg.get('finetune', {}))
    if start is None and not is_frozen(cfg):  # a random start has no layer and no BN statistic to keep
        backbone.update(frozen_stages=-1, norm_eval=False)
    cfg.merge_from_dict({'randomness': {'seed': seed}})
    if options:
        cfg.merge_from_dict(dict(parse_option(option) for option in options))
    check_photos_of(cfg)
    _check_metric(cfg, config)
    if protocol.data_fraction < 1:
        _reduce(cfg, folder, name or config.stem, protocol.data_fraction, seed)
    return cfg


def _check_metric(cfg: Config, config: Path) -> None:
    """Refuse a detection metric that no evaluator of the config returns: no result looks as if nothing was detected."""
    detection = TASKS['det']
    if cfg.default_scope != detection.library:
        return
    key = cfg.get('primary_metric', detection.metric.key)
    given = cfg.get('test_evaluator') or []
    evaluators = [given] if isinstance(given, Mapping) else given
    found = {each.get('prefix') or getattr(type_of(each, METRICS), 'default_prefix', None) for each in evaluators}
    # An unknown evaluator is refused where it is built; one without a prefix may return any metric.
    if None not in found and key.partition('/')[0] not in found:
        known = [metric.key for metric in (detection.metric, *detection.other_metrics)]
        usable = [metric for metric in known if metric.partition('/')[0] in found]
        fix = f'set primary_metric to one of {usable}' if usable else f'use one that returns one of {known}'
        raise ConfigError(f"{config}: its test_evaluator, of {sorted(map(str, found))}, does not return '{key}'; {fix}")


def is_frozen(cfg: Config) -> bool:
    """Return whether the whole backbone of a config is frozen."""
    return int(cfg.model.backbone.get('frozen_stages', -1)) >= 4


_WIDTHS = ('in_channels', 'c1_in_channels', 'input_features')
_HEADS = ('decode_head', 'auxiliary_head', 'head', 'bbox_head', 'rpn_head')
# Settings of a backbone that a downstream config determines.
_DOWNSTREAM = ('out_indices', 'frozen_stages', 'norm_eval')
# Necks that keep the number of channels, so that the head reads the backbone too.
_PASSING = ('GlobalAveragePooling', 'GeneralizedMeanPooling', 'ClsBatchNormNeck')


def fit_backbone(cfg: Config, start: Start | None) -> None:
    """Insert a backbone into a transfer config, and adapt the widths of the modules that read it.

    Args:
        cfg: the config, changed in place.
        start: the backbone; None keeps the config's own, randomly initialized.

    Raises:
        CheckpointError: a module reads a width that no level of the config's backbone has.
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
    """Map the widths of the levels, and the sum of the last two, which depth heads read."""
    return dict(zip((*old, old[-2] + old[-1]), (*new, new[-2] + new[-1]), strict=True))


def _readers(model: Any) -> Iterator[Any]:
    """Yield the configs of the modules that read the backbone's levels."""
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
                f'{checkpoint} does not fit: {part["type"]}.{setting} is {value}, but {error.args[0]} is no width of a '
                f"level of the config's backbone {list(widths)}"
            ) from None


@dataclass(frozen=True)
class Part:
    """The drawn images of one dataset, possibly one of several concatenated ones.

    Args:
        dataset: its type.
        total: number of its images.
        indices: of the drawn images, ascending.
    """

    dataset: str
    total: int
    indices: list[int]


def _reduce(cfg: Config, folder: Path, name: str, fraction: float, seed: int) -> None:
    dataset = cfg.train_dataloader.dataset
    try:
        parts = draw_fraction(dataset, f'{name}/{seed}', fraction, cfg.default_scope)
    except Exception as error:
        raise ConfigError(
            f'data_fraction {fraction:g} of the training set cannot be drawn: {describe_error(error)} '
            f'(dataset {dataset.get("type")}, data_root {dataset.get("data_root")!r})'
        ) from error
    digest = hashlib.sha256(json.dumps([part.indices for part in parts]).encode()).hexdigest()
    record = {'set': name, 'seed': seed, 'fraction': fraction, 'digest': digest, 'parts': [asdict(p) for p in parts]}
    atomic_write_text(folder / FRACTION_FILE, json.dumps(record) + '\n')
    if counts_epochs(cfg):
        # Keep the number of optimizer steps: repeat the drawn images to the original length of an epoch.
        for leaf, part in zip(leaf_datasets(dataset), parts, strict=True):
            leaf['indices'] = np.resize(part.indices, part.total).tolist()


def draw_fraction(dataset: dict[str, Any], key: str, fraction: float, scope: str) -> list[Part]:
    """Reduce a config's training set to a random share of its images, through the ``indices`` of its stock datasets.

    Images of a classification set are drawn class by class: every class keeps its share and at least one image. With
    the same key, the smaller of two shares is a subset of the larger one, except for rounding.

    Args:
        dataset: config of a dataset; wrappers are looked through, and the datasets in them get ``indices``.
        key: seed of the draw.
        fraction: share of the images, above 0 and at most 1.
        scope: library of the datasets.

    Raises:
        ConfigError: the config already sets ``indices``.
    """
    return [_draw(leaf, f'{key}/{number}', fraction, scope) for number, leaf in enumerate(leaf_datasets(dataset))]


def leaf_datasets(dataset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the configs of the datasets in wrappers such as ``ConcatDataset`` and ``RepeatDataset``."""
    if 'datasets' in dataset:
        for inner in dataset['datasets']:
            yield from leaf_datasets(inner)
    elif 'dataset' in dataset:
        yield from leaf_datasets(dataset['dataset'])
    else:
        yield dataset


def _draw(leaf: dict[str, Any], key: str, fraction: float, scope: str) -> Part:
    if leaf.get('indices') is not None:
        raise ConfigError(f'{leaf["type"]} sets indices already: leave the choice to data_fraction')
    built = DATASETS.build({**leaf, 'pipeline': [], '_scope_': scope})
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], 'big'))
    leaf['indices'] = stratified(classes_to_draw_by(built), fraction, rng).tolist()
    return Part(leaf['type'], len(built), leaf['indices'])
