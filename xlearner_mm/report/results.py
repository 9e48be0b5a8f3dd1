"""What a training has written: its loss curves and its validation metrics."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xlearner_mm.errors import ConfigError

Curve = list[tuple[int, float]]


class ResultError(ConfigError):
    """A work directory that does not hold what is asked of it."""


@dataclass
class TrainingResults:
    """Scalars of a training over all its runs.

    Args:
        folder: the work directory.
        curves: key -> (step, value) by rising step, for what was logged while training.
        validations: the metrics of every validation, in order.
        validation_steps: the training step after which each of them was.
    """

    folder: Path
    curves: dict[str, Curve] = field(default_factory=dict)
    validations: list[dict[str, float]] = field(default_factory=list)
    validation_steps: list[int] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the last validation.

        Raises:
            ResultError: there was none.
        """
        if not self.validations:
            raise ResultError(f'{self.folder} holds no validation metrics: its training has not come to its end')
        return self.validations[-1]

    def metric(self, key: str, scale: float = 1.0) -> float:
        """Return one metric of the last validation, times ``scale``.

        Raises:
            ResultError: there is no such metric; lists those there are.
        """
        metrics = self.metrics()
        if key not in metrics:
            raise ResultError(f"{self.folder} holds no metric '{key}', but {sorted(metrics)}")
        return float(metrics[key]) * scale

    def validation_curves(self) -> dict[str, Curve]:
        """Return every metric over the training's steps; of a validation that was repeated, the later one counts."""
        curves: dict[str, dict[int, float]] = defaultdict(dict)
        for step, metrics in zip(self.validation_steps, self.validations, strict=True):
            for key, value in metrics.items():
                curves[key][step] = value
        return {key: sorted(curve.items()) for key, curve in curves.items()}

    def losses(self) -> dict[str, Curve]:
        """Return the curves of all losses, the total (``'loss'``) among them."""
        return {key: curve for key, curve in self.curves.items() if 'loss' in key.rsplit('.', 1)[-1]}


def read_results(folder: Path) -> TrainingResults:
    """Read an MMEngine work directory.

    Every run, a resumed one too, writes a folder named by its time. Where two runs logged one step, the later one
    counts: the earlier one's was lost with its interruption.

    Args:
        folder: the work directory.

    Raises:
        ResultError: nothing was logged there.
    """
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    if not logs:
        raise ResultError(f'{folder} holds no */vis_data/scalars.json: no training has logged there')
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
        else:  # a validation; a logger that counts epochs calls its step 0
            validations.append(record)
            validation_steps.append(step or trained)
    by_step = {key: sorted(curve.items()) for key, curve in curves.items()}
    return TrainingResults(folder, by_step, validations, validation_steps)


def _records(log: Path) -> Iterator[dict[str, float]]:
    for line in log.read_text(encoding='utf-8').splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the line that an interruption cut short
            continue
        if 'step' in record:
            yield record
