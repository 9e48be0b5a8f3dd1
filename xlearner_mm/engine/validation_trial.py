"""A validation of a few images before the first step: what it cannot do ends a run then, and not hours later."""

from __future__ import annotations

import copy
import os.path as osp
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner, ValLoop, autocast
from torch.utils.data import DataLoader

from xlearner_mm.engine.loops.multi_source_val_loop import MultiSourceValLoop
from xlearner_mm.errors import ConfigError, one_line
from xlearner_mm.evaluation.coco_ground_truth import perfect_results
from xlearner_mm.registry import Evaluator
from xlearner_mm.spread import spread
from xlearner_mm.untouched_randomness import untouched_randomness

_IMAGES = 2
_COMPUTED = ('Accuracy', 'SingleLabelMetric', 'IoUMetric', 'DepthMetric', 'CocoMetric', 'VOCMetric')
"""Stock metrics that two images are enough for. Others may need all of them: they are only given predictions."""


def try_validation(runner: Runner) -> None:
    """Predict and measure a few images of each validation set; model, metrics and random numbers stay as they were.

    Each rank does the same on its own, and nothing is logged. Detections are replaced by the ground truth, for an
    untrained detector detects nothing that could be measured.

    Args:
        runner: one that is about to train.

    Raises:
        ConfigError: what a validation would end with, or a metric to select by (``primary_metric``, ``save_best``,
            ``EarlyStoppingHook``'s ``monitor``) that it would not give.
    """
    loop = runner._val_loop
    with _aside(runner):
        if isinstance(loop, MultiSourceValLoop):
            metrics = _try_sources(runner, loop)
        elif type(loop) is ValLoop:
            metrics = _try('its validation', runner.model.val_step, loop.dataloader, loop.evaluator, loop.fp16)
        else:
            return
    if metrics is not None:
        _refuse_unknown_metrics(runner, metrics)


def _try_sources(runner: Runner, loop: MultiSourceValLoop) -> dict[str, Any] | None:
    metrics: dict[str, Any] | None = {}
    for name, loader in loop.dataloaders.items():

        def step(batch: Any, name: str = name) -> Any:
            return runner.model.val_step({name: batch})

        found = _try(f"source '{name}': its validation", step, loader, loop.evaluator.evaluators[name], loop.fp16)
        if found is None:
            metrics = None
            continue
        named = {f'{name}/{key}': value for key, value in found.items()}
        loop.evaluator.primary(named, [name])
        if metrics is not None:
            metrics.update(named)
    return None if metrics is None else {**metrics, **loop.evaluator.aggregate(metrics)}


def _try(
    owner: str, step: Callable[[Any], Any], loader: DataLoader, evaluator: Evaluator, half: bool
) -> dict[str, Any] | None:
    """Return the metrics of a few images, or None where not all metrics can be tried on a few."""
    chosen = spread(len(loader.dataset), _IMAGES)  # type: ignore[arg-type]
    trial = copy.copy(evaluator)
    trial.metrics = [_fresh(metric) for metric in evaluator.metrics]
    try:
        batch = loader.collate_fn([loader.dataset[index] for index in chosen])
        with torch.no_grad(), autocast(enabled=half):
            trial.process(data_samples=step(batch), data_batch=batch)
        found = [_computed(metric) for metric in trial.metrics]
    except (ConfigError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a stock network or metric raises
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f'{osp.basename(osp.dirname(frame.filename))}/{osp.basename(frame.filename)}, line {frame.lineno}'
        raise ConfigError(f'{owner} would fail: {type(error).__name__}: {one_line(error)} ({place})') from error
    if not found or any(each is None for each in found):
        return None
    return {key: value for each in found if each is not None for key, value in each.items()}


def _fresh(metric: BaseMetric) -> BaseMetric:
    """A metric's copy, which writes no files."""
    trial = copy.copy(metric)
    trial.results = []
    if not getattr(trial, 'format_only', False):
        for setting in ('outfile_prefix', 'output_dir'):
            if hasattr(trial, setting):
                setattr(trial, setting, None)
    return trial


def _computed(metric: BaseMetric) -> dict[str, Any] | None:
    if type(metric).__name__ not in _COMPUTED or getattr(metric, 'format_only', False):
        return None
    if type(metric).__name__ == 'CocoMetric':
        results = perfect_results(metric, metric.results)
        if not results:
            return None
        metric.results, metric.img_ids = results, [gt['img_id'] for gt, _ in results]
    found = metric.compute_metrics(metric.results)
    return {f'{metric.prefix}/{key}' if metric.prefix else key: value for key, value in found.items()}


def _refuse_unknown_metrics(runner: Runner, metrics: Mapping[str, Any]) -> None:
    if any(_may_add_metrics(hook) for hook in runner.hooks):
        return
    for hook in runner.hooks:
        selected = [('save_best', key) for key in getattr(hook, 'key_indicators', None) or () if key != 'auto']
        if isinstance(getattr(hook, 'monitor', None), str):
            selected.append(('monitor', hook.monitor))
        for setting, key in selected:
            # FidelityHook looks at its own.
            if key not in metrics and not key.endswith('/fidelity'):
                raise ConfigError(
                    f"{type(hook).__name__}: {setting} is '{key}', which no validation gives: {sorted(metrics)}"
                )


def _may_add_metrics(hook: Any) -> bool:
    """Whether it is a user's own hook that is given the metrics of a validation."""
    own = not type(hook).__module__.startswith(('mmengine.', 'xlearner_mm.'))
    return own and getattr(type(hook), 'after_val_epoch', Hook.after_val_epoch) is not Hook.after_val_epoch


@contextmanager
def _aside(runner: Runner) -> Iterator[None]:
    """Within it, the model predicts and nothing is logged; afterwards all is as before."""
    logger, training = MMLogger.get_current_instance(), runner.model.training
    disabled, logger.disabled = logger.disabled, True
    try:
        with untouched_randomness(), redirect_stdout(StringIO()):
            runner.model.eval()
            yield
    finally:
        runner.model.train(training)
        logger.disabled = disabled
