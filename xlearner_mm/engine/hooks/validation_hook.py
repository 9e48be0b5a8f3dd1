"""Validations that are tried before the first step and not lost by an interruption."""

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
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop, autocast
from torch.utils.data import DataLoader

from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.classes import check_same_classes, classes_of
from xlearner_mm.datasets.stock_datasets import leaves
from xlearner_mm.engine.hooks.fidelity_hook import FIDELITY_SUFFIX, FidelityHook, selected_metrics
from xlearner_mm.engine.loops import MultiSourceValLoop
from xlearner_mm.errors import ConfigError, SourceError, one_line
from xlearner_mm.evaluation.coco_ground_truth import compare_images, perfect_results, prepare_ground_truth
from xlearner_mm.registry import HOOKS, Evaluator
from xlearner_mm.spread import spread
from xlearner_mm.untouched_randomness import untouched_randomness

_VALIDATED = 'validated_iter'
_IMAGES = 2
_COMPUTED = ('Accuracy', 'SingleLabelMetric', 'IoUMetric', 'DepthMetric', 'CocoMetric', 'VOCMetric')
"""Stock metrics that are computed in the trial. Others may need all images: they only receive predictions."""


@HOOKS.register_module()
class ValidationHook(Hook):
    """Try the validation before the first step, and run one that an interruption prevented.

    Classes and annotations of the validation data are checked, and two images of it predicted and measured.

    MMEngine's loops save a checkpoint before they validate the same step or epoch and, when resumed, continue with the
    next one: that validation, and with it the best checkpoint or an early stop, would be lost.

    Raises:
        ConfigError: before the first step: labels that mean other classes than in training, annotations that a metric
            cannot use, any error of the validation, or a metric to select by that it does not return.
    """

    # After other hooks, those of checkpoints too, are ready for a validation.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._prepared: list[BaseLoop] = []

    def before_train(self, runner: Runner) -> None:
        """Try the validation, and run the one that was due where the training is resumed."""
        loop = runner._val_loop
        if isinstance(loop, BaseLoop):
            _check_classes(runner.train_dataloader.dataset, loop)
            self._prepare_stock(runner, loop)
            try_validation(runner)
        if runner.val_loop is None or runner.iter == 0 or not _is_due(runner.train_loop):
            return
        if runner.message_hub.runtime_info.get(_VALIDATED) != runner.iter:
            runner.val_loop.run()

    def before_val_epoch(self, runner: Runner) -> None:
        """Note the validation for the next checkpoint, which holds its result."""
        runner.message_hub.update_info(_VALIDATED, runner.iter)

    def before_val(self, runner: Runner) -> None:
        """Prepare the metrics of a validation without training."""
        self._prepare_stock(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Prepare the metrics of a test."""
        self._prepare_stock(runner, runner.test_loop)

    def _prepare_stock(self, runner: Runner, loop: BaseLoop) -> None:
        """Prepare the metrics of one stock dataset, as MultiSourceEvaluator does for each source."""
        if type(loop) not in (ValLoop, TestLoop) or loop in self._prepared:
            return
        self._prepared.append(loop)
        dataset: Any = loop.dataloader.dataset
        for metric in loop.evaluator.metrics:
            try:
                prepare_ground_truth(metric, classes_of(dataset))
                note = compare_images(metric, list(leaves(dataset)))
            except Exception as error:
                raise ConfigError(f'{type(metric).__name__} cannot measure: {one_line(error)}') from error
            if note is not None:
                runner.logger.warning(note)


def _check_classes(dataset: Any, loop: BaseLoop) -> None:
    """Compare the classes of training and validation data, source by source."""
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(loop, MultiSourceValLoop) and isinstance(dataset, MultiSourceDataset):
        shared = [name for name in loop.dataloaders if name in dataset.datasets]
        pairs = [(f"source '{name}': ", dataset.datasets[name], loop.dataloaders[name].dataset) for name in shared]
    elif isinstance(loop, ValLoop):
        pairs = [('', dataset, loop.dataloader.dataset)]
    for owner, training, validation in pairs:
        for other in leaves(validation):
            try:
                for first in list(leaves(training))[:1]:
                    check_same_classes(first, other)
            except ValueError as error:
                raise SourceError(f'{owner}in training and validation, labels mean other classes: {error}') from error


def _is_due(loop: Any) -> bool:
    """Return whether MMEngine's loop validates where it is now."""
    if isinstance(loop, IterBasedTrainLoop):
        done, last = loop.iter, loop.max_iters
    elif isinstance(loop, EpochBasedTrainLoop):
        done, last = loop.epoch, loop.max_epochs
    else:
        return False
    loop._decide_current_val_interval()  # dynamic_intervals may have changed it before the interruption
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)


def try_validation(runner: Runner) -> None:
    """Predict and measure a few images of each validation set; model, metrics and random numbers are left unchanged.

    Every rank does the same, without logging. Detections are replaced by the ground truth, since an untrained detector
    finds nothing to measure.

    Raises:
        ConfigError: any error of the validation, or a metric to select by (``primary_metric``, ``save_best``,
            ``monitor`` of ``EarlyStoppingHook`` or ``ReduceOnPlateauLR``) that it does not return.
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
    metrics: dict[str, Any] = {}
    complete = True
    for name, loader in loop.dataloaders.items():

        def step(batch: Any, name: str = name) -> Any:
            return runner.model.val_step({name: batch})

        found = _try(f"source '{name}': its validation", step, loader, loop.evaluator.evaluators[name], loop.fp16)
        complete = complete and found is not None
        if found is not None:
            named = {f'{name}/{key}': value for key, value in found.items()}
            loop.evaluator.primary(named, [name])
            metrics |= named
    return {**metrics, **loop.evaluator.aggregate(metrics)} if complete else None


def _try(
    owner: str, step: Callable[[Any], Any], loader: DataLoader, evaluator: Evaluator, half: bool
) -> dict[str, Any] | None:
    """Return the metrics of a few images, or None if some metric needs more of them."""
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
    """Copy a metric, without results and output files."""
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
    fidelity = any(isinstance(hook, FidelityHook) for hook in runner.hooks)
    for owner, setting, key in selected_metrics(runner):
        is_fidelity = key.endswith(FIDELITY_SUFFIX)
        if key not in metrics and not (fidelity and is_fidelity):  # which FidelityHook checks
            fix = "; squeezes return fidelities with dict(type='FidelityHook') in custom_hooks" if is_fidelity else ''
            raise ConfigError(f"{owner}: {setting} is '{key}', which no validation returns: {sorted(metrics)}{fix}")


def _may_add_metrics(hook: Any) -> bool:
    """Return whether it is a user's hook that receives the metrics of a validation."""
    own = not type(hook).__module__.startswith(('mmengine.', 'xlearner_mm.'))
    return own and getattr(type(hook), 'after_val_epoch', Hook.after_val_epoch) is not Hook.after_val_epoch


@contextmanager
def _aside(runner: Runner) -> Iterator[None]:
    """Predict in eval mode without logging, and restore everything afterwards."""
    logger, training = MMLogger.get_current_instance(), runner.model.training
    disabled, logger.disabled = logger.disabled, True
    try:
        with untouched_randomness(), redirect_stdout(StringIO()):
            runner.model.eval()
            yield
    finally:
        runner.model.train(training)
        logger.disabled = disabled
