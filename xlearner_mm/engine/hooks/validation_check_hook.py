"""Refuse a training whose validation would fail or measure other classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner, TestLoop, ValLoop

from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.categories import check_same_classes, classes_of
from xlearner_mm.datasets.integrity.guarded_reading import leaves
from xlearner_mm.engine.loops.multi_source_val_loop import MultiSourceValLoop
from xlearner_mm.engine.validation_trial import try_validation
from xlearner_mm.errors import ConfigError, SourceError, one_line
from xlearner_mm.evaluation.coco_ground_truth import compare_images, prepare_ground_truth
from xlearner_mm.registry import HOOKS


@HOOKS.register_module()
class ValidationCheckHook(Hook):
    """Look at the validation before the first step: its classes, its annotations, and a few of its images.

    Raises:
        SourceError: labels that mean other classes than in training, annotations that a metric cannot use, or whatever
            a validation would end with.
    """

    def __init__(self) -> None:
        self._prepared: list[BaseLoop] = []

    def before_train(self, runner: Runner) -> None:
        """Check once, with the weights that the training begins with."""
        loop = runner._val_loop
        if not isinstance(loop, BaseLoop):
            return
        for owner, training, validation in _pairs(runner.train_dataloader.dataset, loop):
            parts = list(leaves(training))
            for other in leaves(validation):
                try:
                    if parts:
                        check_same_classes(parts[0], other)
                except ValueError as error:
                    raise SourceError(
                        f'{owner}in training and validation, labels mean other classes: {error}'
                    ) from error
        self._prepare_stock(runner, loop)
        try_validation(runner)

    def before_val(self, runner: Runner) -> None:
        """Prepare the metrics of a validation without a training."""
        self._prepare_stock(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Prepare the metrics of a test."""
        self._prepare_stock(runner, runner.test_loop)

    def _prepare_stock(self, runner: Runner, loop: BaseLoop) -> None:
        """Do for one stock data set what the evaluator of sources does for each of them, once."""
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


def _pairs(dataset: Any, loop: BaseLoop) -> Iterator[tuple[str, Any, Any]]:
    """Whose data sets they are, and those to train on and to validate on."""
    if isinstance(loop, MultiSourceValLoop) and isinstance(dataset, MultiSourceDataset):
        for name, loader in loop.dataloaders.items():
            if name in dataset.datasets:
                yield f"source '{name}': ", dataset.datasets[name], loader.dataset
    elif isinstance(loop, ValLoop):
        yield '', dataset, loop.dataloader.dataset
