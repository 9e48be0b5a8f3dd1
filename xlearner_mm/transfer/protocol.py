"""Evaluation of a backbone: the transfer sets of a suite, and the protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlearner_mm.config.options import read_literally
from xlearner_mm.errors import ConfigError
from xlearner_mm.pipeline.job import config_files
from xlearner_mm.report.columns import PAPER_TITLES
from xlearner_mm.report.rows import SUMMARY, RowProtocol
from xlearner_mm.tasks import METRICS, TASKS, Metric

PROBES = ('lbfgs', 'sgd', 'knn')
"""Classifiers on a frozen backbone: logistic regression, a linear head trained by SGD, nearest neighbors."""


@dataclass(frozen=True)
class Protocol:
    """The protocol of a transfer.

    Args:
        frozen: True freezes the backbone in every task, False fine-tunes it in every task, by the config's own recipe
            if that fine-tunes. Defaults to None: as each config has it.
        probe: of :data:`PROBES`, for classification sets with a frozen backbone. Defaults to ``'lbfgs'``, the only one
            allowed with fine-tuning.
        data_fraction: used share of the training images, above 0 and at most 1. Defaults to 1.
        seeds: number of repetitions, with seeds 0, 1, ... Defaults to 1.
        options: ``KEY=VALUE`` overrides of every config. Defaults to none.

    Raises:
        ConfigError: a setting out of its range, or a probe of a backbone that is fine-tuned.
    """

    frozen: bool | None = None
    probe: str = 'lbfgs'
    data_fraction: float = 1.0
    seeds: int = 1
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.probe not in PROBES:
            raise ConfigError(f"unknown probe '{self.probe}', choose from {PROBES}")
        if self.frozen is False and self.probe != 'lbfgs':
            raise ConfigError(f'probe {self.probe} needs a frozen backbone, but --finetune trains it: omit one of them')
        if not 0 < self.data_fraction <= 1:
            raise ConfigError(f'data_fraction must be above 0 and at most 1, got {self.data_fraction}')
        if self.seeds < 1:
            raise ConfigError(f'seeds must be at least 1, got {self.seeds}')

    @property
    def suffix(self) -> str:
        """Suffix of its work directories; empty for the standard protocol."""
        parts = []
        if self.frozen is not None:
            parts.append('frozen' if self.frozen else 'finetune')
        if self.probe != 'lbfgs':
            parts.append(self.probe)
        if self.data_fraction != 1:
            parts.append(f'{self.data_fraction * 100:g}pct')
        if self.options:
            parts.append(f'options_{hashlib.sha256(repr(self.options).encode()).hexdigest()[:6]}')
        return ''.join(f'-{part}' for part in parts)

    def arguments(self, seed: int) -> tuple[str, ...]:
        """Return the arguments of ``tools/transfer_set.py`` for one of its seeds."""
        chosen = ['--seed', str(seed), '--probe', self.probe, '--data-fraction', f'{self.data_fraction:g}']
        if self.frozen is not None:
            chosen.append('--frozen' if self.frozen else '--finetune')
        return tuple(chosen)

    def of_row(self, seeds: int | str) -> RowProtocol:
        """Return the protocol of a report's row with a number of seeds: what holds for all its sets."""
        probe = None if self.frozen is False else self.probe
        return RowProtocol(self.data_fraction, seeds, self.frozen, probe, ' '.join(self.options) or None)


@dataclass(frozen=True)
class Suite:
    """A suite of transfer sets.

    Args:
        folder: of the sets' configs.
        titles: summary or set -> title, the score columns of its report.
        slower: estimated duration of a transfer, in those of XL-Mini, until it is measured; rather too long, as a time
            left may fall at any speed and grow only slowly. Defaults to 10.
    """

    folder: Path
    titles: Mapping[str, str]
    slower: float = 10.0


SUITES = {
    'paper': Suite(Path('configs/transfer'), PAPER_TITLES, slower=100),
    'mini': Suite(Path('configs/mini/transfer'), SUMMARY, slower=1),
    'photo': Suite(Path('configs/photo/transfer'), SUMMARY, slower=1),
}


def suite_of(name: str) -> Suite:
    """Return a suite by its name, or that of a folder with transfer configs of your own.

    Raises:
        ConfigError: neither a suite nor a folder.
    """
    if name in SUITES:
        return SUITES[name]
    if not Path(name).is_dir():
        raise ConfigError(f"suite '{name}': expected {', '.join(SUITES)} or a folder of transfer configs")
    return Suite(Path(name), SUMMARY)


@dataclass(frozen=True)
class TransferSet:
    """A transfer set.

    Args:
        name: unique.
        task: of :data:`~xlearner_mm.tasks.TASKS`.
        config: its config file.
        metric: its metric.
        extra: whether it is beside the paper's suite, and so in no summary. Defaults to False.
    """

    name: str
    task: str
    config: Path
    metric: Metric
    extra: bool = False

    def folder(self, row: Path, seed: int) -> Path:
        """Return the work directory of the transfer with one seed, in the folder of its row."""
        return row / self.config.stem / f'seed_{seed}'


def transfer_sets(folder: Path, only: Collection[str] = ()) -> list[TransferSet]:
    """Return the transfer sets of a folder of configs, ordered by task.

    A config or one of its bases may set ``primary_metric`` to the key of a stock metric, and ``extra = True``. Sets of
    a metric on another scale than their task's column, as COCO's AP beside AP50, are extra ones by default.

    Args:
        folder: of configs named ``<task>_<set>.py``, in it or in folders ``<task>``. Sets of two tasks with the same
            name keep the task in it: ``det_voc`` and ``seg_voc``.
        only: names of the sets to return. Defaults to all.

    Raises:
        FileNotFoundError: there is no config.
        ConfigError: an unknown name in ``only``, two configs of one name, or a config that cannot be read or has an
            unknown metric.
    """
    found = [
        (task, config)
        for task in TASKS
        for config in sorted([*folder.glob(f'{task}_*.py'), *folder.glob(f'{task}/{task}_*.py')])
    ]
    if not found:
        raise FileNotFoundError(f'{folder} has no transfer config named <task>_<set>.py, task of {list(TASKS)}')
    stems = [config.stem for _, config in found]
    if twice := [str(config) for _, config in found if stems.count(config.stem) > 1]:
        raise ConfigError(f'{" and ".join(twice)} would share one folder of results: rename one of them')
    short = [config.stem.removeprefix(f'{task}_') for task, config in found]
    sets = [
        _transfer_set(name if short.count(name) == 1 else config.stem, task, config)
        for name, (task, config) in zip(short, found, strict=True)
    ]
    unknown = sorted(set(only) - {entry.name for entry in sets})
    if unknown:
        raise ConfigError(f'{folder} has no set {unknown}; it has {[entry.name for entry in sets]}')
    return [entry for entry in sets if not only or entry.name in only]


def _transfer_set(name: str, task: str, config: Path) -> TransferSet:
    settings: dict[str, Any] = {}
    for file in reversed(config_files(config)):  # its bases first; parsing it whole would import its library
        settings |= read_literally(file)
    key = settings.get('primary_metric', TASKS[task].metric.key)
    if key not in METRICS:
        raise ConfigError(f"{config}: unknown primary_metric '{key}', choose from {sorted(METRICS)}")
    return TransferSet(name, task, config, METRICS[key], bool(settings.get('extra', not METRICS[key].in_column)))


def other_configs(folder: Path) -> list[Path]:
    """Return the files in a folder and its folders that no transfer set is read from: name or place differs."""
    read = {file.resolve() for entry in transfer_sets(folder) for file in config_files(entry.config)}
    return [file for file in sorted([*folder.glob('*.py'), *folder.glob('*/*.py')]) if file.resolve() not in read]
