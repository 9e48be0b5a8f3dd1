"""Fidelity of a squeeze."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.engine.hooks.logged_step import logging_interval
from xlearner_mm.engine.hooks.loop_units_hook import schedules_of
from xlearner_mm.engine.loops import MultiSourceValLoop
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import HOOKS
from xlearner_mm.untouched_randomness import untouched_randomness

FIDELITY_KEY = 'xlearner_fidelity'
AGGREGATE = 'sources/fidelity'
FIDELITY_SUFFIX = '/fidelity'


def selected_metrics(runner: Runner) -> Iterator[tuple[str, str, str]]:
    """Yield the metrics that a runner goes by, each with who goes by it and in which setting.

    These are ``save_best`` of checkpoints, and ``monitor`` of early stops and of schedules that read metrics.
    """
    for hook in runner.hooks:
        for key in getattr(hook, 'key_indicators', None) or ():
            if key != 'auto':
                yield type(hook).__name__, 'save_best', key
    schedules = [schedule for _, schedule in schedules_of(runner)]
    for part in [*runner.hooks, *schedules]:
        monitor = getattr(part, 'monitor', None)
        if isinstance(monitor, str):
            yield type(part).__name__, 'monitor', monitor


@HOOKS.register_module()
class FidelityHook(Hook):
    """Add the fidelity of every source to the metrics of a squeeze's validation or test.

        fidelity = 100 * metric of the heads on G^t(Fhat) / metric of the same heads on F^t

    Before training, the validation loop measures the branches themselves. Their metrics are kept under
    ``meta['xlearner_fidelity']`` of every checkpoint, and measured again only for another teacher, or other sources,
    data or metrics, as in a test.

    ``<source>/fidelity``, in percent of the primary metric, and their mean ``sources/fidelity`` are logged and can
    select the best checkpoint: ``save_best='sources/fidelity'``. A source whose branch itself has a metric of 0 has no
    fidelity, which is a warning.

    Raises:
        ConfigError: before training, if the model or validation loop is not of the squeeze stage, or ``save_best``, or
            ``monitor`` of ``EarlyStoppingHook`` or ``ReduceOnPlateauLR``, names a fidelity that is not measured.
    """

    # Before RuntimeInfoHook (VERY_HIGH), which logs the metrics.
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
        """Measure the branches on the test data."""
        self._measure_branches(runner, runner.test_loop)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the fidelity to the metrics."""
        self._add(runner.val_loop, metrics)
        found = {key: value for key, value in (metrics or {}).items() if key.endswith(FIDELITY_SUFFIX)}
        self._last = {'step': runner.iter, **found}

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the fidelity to the metrics."""
        self._add(runner.test_loop, metrics)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Record the branches' metrics, and the last fidelity with its step."""
        if self._branches is not None:
            checkpoint['meta'][FIDELITY_KEY] = {**self._branches, 'last': self._last}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore the branches' metrics."""
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
        sources = loop.evaluator.sources
        named = {name: s.primary_metric for name, s in sources.items() if s.primary_metric is not None}
        settings = {name: (s.val_dataloader, s.val_evaluator, s.primary_scale) for name, s in sources.items()}
        data, teacher = hashlib.sha256(str(settings).encode()).hexdigest()[:16], distiller.teacher.sha256
        if self._branches:
            before = {name: metric for name, (metric, _) in self._branches['metrics'].items()}
            if (self._branches['teacher'], self._branches['data'], before) == (teacher, data, named):
                return
        # Without effect on random numbers: a resumed training, which does not measure, must see the same ones.
        with untouched_randomness(), distiller.heads_on_branches():
            metrics = loop.measure(_with_progress(runner, loop))
        primary = loop.evaluator.primary(metrics)
        found: dict[str, tuple[str, float]] = {name: (named[name], value) for name, value in primary.items()}
        self._branches = {'teacher': teacher, 'data': data, 'metrics': {name: [*pair] for name, pair in found.items()}}
        listed = ', '.join(f'{name} {value:.2f} ({metric})' for name, (metric, value) in found.items())
        runner.logger.info(f"Fidelity: the branches' own metrics in percent: {listed}")
        for name, (metric, value) in found.items():
            if not value > 0:
                runner.logger.warning(
                    f"source '{name}': {metric} of its branch is {value:g}, so it has no {name}/fidelity and does not "
                    f'count in {AGGREGATE}'
                )

    def _check_best(self, runner: Runner) -> None:
        """Refuse a missing ``save_best`` or ``monitor`` now: MMEngine fails at it after the first validation."""
        assert self._branches is not None
        metrics = {name: value for name, (_, value) in self._branches['metrics'].items()}
        shares = [f'{name}{FIDELITY_SUFFIX}' for name, value in metrics.items() if value > 0]
        known = [*shares, AGGREGATE] if shares else []
        unmeasured = [f'{name}{FIDELITY_SUFFIX}' for name, value in metrics.items() if not value > 0]
        for _, setting, key in selected_metrics(runner):
            if not key.endswith(FIDELITY_SUFFIX) or key in known:
                continue
            missing = f'{setting}: there is no {key}, only {known}'
            if key in unmeasured or (key == AGGREGATE and unmeasured):
                raise ConfigError(
                    f"{missing}, because the branch's own metric is 0: train the expansion longer, or set "
                    f"{setting}='sources/mean'"
                )
            raise ConfigError(f'{missing}: correct the name, or give the source a primary_metric')

    def _add(self, loop: Any, metrics: dict[str, float] | None) -> None:
        assert self._branches is not None
        if metrics is None:
            return
        student = loop.evaluator.primary(metrics)
        shares = {
            name: 100 * student[name] / value for name, (_, value) in self._branches['metrics'].items() if value > 0
        }
        metrics.update({f'{name}{FIDELITY_SUFFIX}': share for name, share in shares.items()})
        if shares:
            metrics[AGGREGATE] = sum(shares.values()) / len(shares)


def _with_progress(runner: Runner, loop: MultiSourceValLoop) -> Callable[[int, str, Any], None]:
    """Predict, and log the progress as often as the stock logger does."""
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
