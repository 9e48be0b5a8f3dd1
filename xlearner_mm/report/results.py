"""Logged results of a training: loss curves and validation metrics."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xlearner_mm.errors import ConfigError
from xlearner_mm.report.rows import SourceScore, Upstream

Curve = list[tuple[int, float]]


class ResultError(ConfigError):
    """A work directory without the requested results; the message names it, what was expected and what was found."""


@dataclass
class TrainingResults:
    """Scalars of a training over all its runs.

    Args:
        folder: the work directory.
        curves: key -> (step, value) by rising step, of the training steps.
        validations: metrics of every validation, in order.
        validation_steps: training step before each of them.
    """

    folder: Path
    curves: dict[str, Curve] = field(default_factory=dict)
    validations: list[dict[str, float]] = field(default_factory=list)
    validation_steps: list[int] = field(default_factory=list)

    def metrics(self, step: int | None = None) -> dict[str, float]:
        """Return the metrics of the last validation, or of the last one after a training step.

        Raises:
            ResultError: there was none.
        """
        if not self.validations:
            raise ResultError(f'{self.folder} has no validation metrics: its training is not finished')
        if step is None:
            return self.validations[-1]
        if step not in self.validation_steps:
            raise ResultError(f'{self.folder} has no validation after step {step}, but {self.validation_steps}')
        return self.validations[len(self.validation_steps) - 1 - self.validation_steps[::-1].index(step)]

    def metric(self, key: str, scale: float = 1.0, step: int | None = None) -> float:
        """Return one metric of the last validation, or of the last one after ``step``, times ``scale``.

        Raises:
            ResultError: there is no such metric; the message lists the known ones.
        """
        metrics = self.metrics(step)
        if key not in metrics:
            raise ResultError(f"{self.folder} has no metric '{key}', but {sorted(metrics)}")
        return float(metrics[key]) * scale

    def validation_curves(self) -> dict[str, Curve]:
        """Return every metric over the training's steps; a repeated validation replaces the earlier one."""
        curves: dict[str, dict[int, float]] = defaultdict(dict)
        for step, metrics in zip(self.validation_steps, self.validations, strict=True):
            for key, value in metrics.items():
                curves[key][step] = value
        return {key: sorted(curve.items()) for key, curve in curves.items()}

    def losses(self) -> dict[str, Curve]:
        """Return the curves of all losses, including the total, ``'loss'``."""
        return {key: curve for key, curve in self.curves.items() if 'loss' in key.rsplit('.', 1)[-1]}


def read_results(folder: Path) -> TrainingResults:
    """Read the logs of an MMEngine work directory.

    Every run, including a resumed one, writes a folder named by its time. Steps logged by two runs are taken from the
    later one: the earlier ones were lost in the interruption.

    Args:
        folder: the work directory.

    Raises:
        ResultError: nothing was logged there.
    """
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    if not logs:
        raise ResultError(f'{folder} has no */vis_data/scalars.json: no training has logged there')
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    validations: list[dict[str, float]] = []
    validation_steps: list[int] = []
    trained = 0
    for record in (record for log in logs for record in _records(log)):
        step = int(record.pop('step'))
        if 'loss' in record:
            trained = step
            for key, value in record.items():
                curves[key][step] = value
        else:  # a validation; loggers that count epochs log it as step 0
            validations.append(record)
            validation_steps.append(step or trained)
    by_step = {key: sorted(curve.items()) for key, curve in curves.items()}
    return TrainingResults(folder, by_step, validations, validation_steps)


def _records(log: Path) -> Iterator[dict[str, float]]:
    for line in log.read_text(encoding='utf-8').splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # a line truncated by an interruption
            continue
        if 'step' in record:
            yield record


def read_upstream(folder: Path, sources: Mapping[str, Mapping[str, Any]], step: int | None = None) -> Upstream:
    """Return the scores of a stage's validation on its sources, in percent, with the fidelity if it was measured.

    A source without any metric has score 0: stock detection metrics return nothing if there are no detections.

    Args:
        folder: the stage's work directory.
        sources: source -> settings, of which ``primary_metric``, ``primary_scale`` and ``val_evaluator`` are read.
        step: the training step before the validation. Defaults to None: the last validation.

    Raises:
        ResultError: no validation, or none of a source.
    """
    results = read_results(folder)
    metrics = results.metrics(step)
    upstream = {}
    for name, source in sources.items():
        metric = source.get('primary_metric')
        if metric:
            fidelity = metrics.get(f'{name}/fidelity')
            measured = any(key.startswith(f'{name}/') for key in metrics if key != f'{name}/fidelity')
            if not measured and source.get('val_evaluator') is not None:
                value = 0.0
            else:
                value = results.metric(f'{name}/{metric}', source.get('primary_scale', 1.0), step)
            upstream[name] = SourceScore(metric, round(value, 2), None if fidelity is None else round(fidelity, 2))
    return upstream
