"""How much of every branch's own result the student keeps."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from xlearner_mm.engine.hooks.logged_step import logging_interval
from xlearner_mm.engine.loops import MultiSourceValLoop
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import HOOKS
from xlearner_mm.untouched_randomness import untouched_randomness

FIDELITY_KEY = 'xlearner_fidelity'
AGGREGATE = 'sources/fidelity'
_SUFFIX = '/fidelity'


@HOOKS.register_module()
class FidelityHook(Hook):
    """Report the fidelity of a squeeze at every validation (and test), source by source.

        fidelity = 100 * metric of the heads on G^t(Fhat) / metric of the same heads on F^t

    A validation of a :class:`FitNetDistiller` lets the expansion stage's frozen heads read the student. Before
    training, the same loop measures the branches themselves, once: their metrics are kept under
    ``meta['xlearner_fidelity']`` of every checkpoint, and measured again only for another teacher, other sources, or
    other data or metrics of theirs, as a test may have.

    ``<source>/fidelity``, in percent of the primary metric, and their mean ``sources/fidelity`` join the metrics before
    logger, visualizer and checkpoints read them; ``save_best='sources/fidelity'`` works. A source whose branch itself
    has a metric of 0 (a detector that finds nothing) has no fidelity: it is named in the log and left out.

    Raises:
        ConfigError: before training, if the model or validation loop is not of the squeeze stage, or ``save_best``
            names a fidelity that is not measured.
    """

    # RuntimeInfoHook (VERY_HIGH) hands the metrics on to the log.
    priority = 'HIGHEST'

    def __init__(self) -> None:
        self._branches: dict[str, Any] | None = None
        self._last: dict[str, Any] | None = None

    def before_train(self, runner: Runner) -> None:
        """Measure the branches before the first step."""
        if runner.val_loop is not None:
            self._measure_branches(runner, runner.val_loop)
            self._check_best(runner)

    def before_val(self, runner: Runner) -> None:
        """Measure the branches, in a validation without training."""
        self._measure_branches(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Measure the branches on what is tested."""
        self._measure_branches(runner, runner.test_loop)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the fidelity to the metrics."""
        self._add(runner.val_loop, metrics)
        self._last = {'step': runner.iter, **self._of(metrics or {})}

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the fidelity to the metrics."""
        self._add(runner.test_loop, metrics)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the branches' metrics, and the fidelity of the last validation with its step."""
        if self._branches is not None:
            checkpoint['meta'][FIDELITY_KEY] = {**self._branches, 'last': self._last}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take the branches' metrics over."""
        kept = checkpoint.get('meta', {}).get(FIDELITY_KEY)
        if kept is not None:
            self._branches = {key: kept.get(key) for key in ('teacher', 'data', 'metrics')}
            self._last = kept['last'] if runner._resume else None

    def _measure_branches(self, runner: Runner, loop: Any) -> None:
        distiller = unwrapped(runner.model)
        if not isinstance(distiller, FitNetDistiller) or not isinstance(loop, MultiSourceValLoop):
            raise ConfigError(
                'FidelityHook needs a FitNetDistiller and a MultiSourceValLoop, got '
                f'{type(distiller).__name__} and {type(loop).__name__}'
            )
        named = {name: s.primary_metric for name, s in loop.evaluator.sources.items() if s.primary_metric is not None}
        data = _data_of(loop)
        if self._branches and _is_of(self._branches, distiller, data, named):
            return
        # On the side: a resumed training, which finds the metrics in its checkpoint, must see the same numbers.
        with untouched_randomness(), distiller.heads_on_branches():
            metrics = loop.measure(_with_progress(runner, loop))
        found = {name: [named[name], value] for name, value in loop.evaluator.primary(metrics).items()}
        self._branches = {'teacher': distiller.teacher.sha256, 'data': data, 'metrics': found}
        _tell(runner, found)

    def _check_best(self, runner: Runner) -> None:
        """MMEngine would end in a KeyError, after the first validation."""
        assert self._branches is not None
        shares = [f'{name}{_SUFFIX}' for name, (_, value) in self._branches['metrics'].items() if value > 0]
        there = [*shares, AGGREGATE] if shares else []
        hooks = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        lacking = [k for hook in hooks for k in hook.save_best or () if k.endswith(_SUFFIX) and k not in there]
        if lacking:
            raise ConfigError(
                f"save_best: there will be no {lacking[0]}, only {there}: the branch's own metric is 0, and of that "
                "there is no share; train the expansion longer, or set save_best='sources/mean'"
            )

    def _add(self, loop: Any, metrics: dict[str, float] | None) -> None:
        assert self._branches is not None
        if metrics is None:
            return
        student = loop.evaluator.primary(metrics)
        shares = {
            name: 100 * student[name] / value for name, (_, value) in self._branches['metrics'].items() if value > 0
        }
        metrics.update({f'{name}{_SUFFIX}': share for name, share in shares.items()})
        if shares:
            metrics[AGGREGATE] = sum(shares.values()) / len(shares)

    @staticmethod
    def _of(metrics: Mapping[str, float]) -> dict[str, float]:
        return {key: value for key, value in metrics.items() if key.endswith(_SUFFIX)}


def _data_of(loop: MultiSourceValLoop) -> str:
    """A digest of what is evaluated: every source's data set, pipeline and evaluator, as they are set."""
    settings = {
        name: (s.val_dataloader, s.val_evaluator, s.primary_scale) for name, s in loop.evaluator.sources.items()
    }
    return hashlib.sha256(str(settings).encode()).hexdigest()[:16]


def _is_of(kept: Mapping[str, Any], distiller: FitNetDistiller, data: str, metrics: Mapping[str, str]) -> bool:
    """Whether what was measured before is of this teacher, and of these metrics of these sources on this data."""
    before = {name: metric for name, (metric, _) in kept['metrics'].items()}
    return (kept['teacher'], kept['data'], before) == (distiller.teacher.sha256, data, dict(metrics))


def _with_progress(runner: Runner, loop: MultiSourceValLoop) -> Callable[[int, str, Any], None]:
    """Predict, with a line of progress as often as the stock logger writes one."""
    total, interval = sum(len(loader) for loader in loop.dataloaders.values()), logging_interval(runner)
    runner.logger.info(f"Fidelity: measuring the branches' own metrics, {total} batches")
    start, done = time.monotonic(), 0

    def run_iter(index: int, source: str, batch: Any) -> None:
        nonlocal done
        loop.predict(source, batch)
        done += 1
        if interval and done % interval == 0:
            left = timedelta(seconds=int((time.monotonic() - start) / done * (total - done)))
            runner.logger.info(f"Fidelity: branches' own metrics, {source} [{done}/{total}]  eta: {left}")

    return run_iter


def _tell(runner: Runner, found: Mapping[str, list]) -> None:
    listed = ', '.join(f'{name} {value:.2f} ({metric})' for name, (metric, value) in found.items())
    runner.logger.info(f"Fidelity: the branches' own metrics in percent: {listed}")
    for name, (metric, value) in found.items():
        if not value > 0:
            runner.logger.log(
                logging.WARNING,
                f"source '{name}': {metric} of its branch itself is {value:g}, so nothing can be a share of it: it has "
                f'no {name}/fidelity and does not count in {AGGREGATE}',
            )
