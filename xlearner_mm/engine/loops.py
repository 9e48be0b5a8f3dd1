"""Validation and test of all sources, each with its own loader and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from mmengine.runner import BaseLoop, Runner, autocast
from torch.utils.data import DataLoader

from xlearner_mm.datasets.integrity.annotations import read_annotations
from xlearner_mm.datasets.integrity.images import guard
from xlearner_mm.datasets.shared_annotations import read_once
from xlearner_mm.datasets.stock_datasets import as_config, build_deferred, leaves
from xlearner_mm.errors import ConfigError, SourceError, one_line, refuse_unknown
from xlearner_mm.evaluation import MultiSourceEvaluator
from xlearner_mm.registry import EVALUATOR, LOOPS
from xlearner_mm.sources import BadData, Source


@LOOPS.register_module()
class MultiSourceValLoop(BaseLoop):
    """Validation (and test) loop over all sources.

    Args:
        runner: the runner.
        dataloader: ``dict()``: every source's own ``val_dataloader`` is built. ``sources`` in it has no effect.
        evaluator: config of a :class:`~xlearner_mm.evaluation.MultiSourceEvaluator`.
        fp16: run in autocast. Defaults to False.

    Raises:
        ConfigError: a loader that cannot be built, or other settings than ``sources`` in ``dataloader``.
    """

    stage = 'val'

    def __init__(
        self,
        runner: Runner,
        dataloader: Mapping[str, Any],
        evaluator: MultiSourceEvaluator | Mapping[str, Any],
        fp16: bool = False,
    ) -> None:
        refuse_unknown(f'{self.stage}_dataloader', dataloader, ['sources'])
        if isinstance(evaluator, Mapping):
            evaluator = EVALUATOR.build(dict(evaluator))
        self.evaluator: MultiSourceEvaluator = evaluator  # type: ignore[assignment]
        self.fp16 = fp16
        self.dataloaders = {name: _build_loader(runner, source) for name, source in self.evaluator.sources.items()}
        # Stock hooks read `.dataloader` for progress: it is the loader of the source being evaluated.
        super().__init__(runner, next(iter(self.dataloaders.values())))
        for name, loader in self.dataloaders.items():
            self.evaluator.set_dataset_meta(name, getattr(loader.dataset, 'metainfo', {}))
            for note in self.evaluator.compare_images(name, loader.dataset):
                runner.logger.warning(f"source '{name}': {note}")

    def run(self) -> dict[str, float]:
        """Evaluate every source and return all metrics with their aggregate."""
        self.runner.call_hook(f'before_{self.stage}')
        self.runner.call_hook(f'before_{self.stage}_epoch')
        metrics = self.measure(self.run_iter)
        self.runner.call_hook(f'after_{self.stage}_epoch', metrics=metrics)
        self.runner.call_hook(f'after_{self.stage}')
        return metrics

    def measure(self, run_iter: Callable[[int, str, Any], None]) -> dict[str, float]:
        """Evaluate every source without the hooks of a validation.

        Args:
            run_iter: called with ``(index, source, batch)``; calls :meth:`predict`.
        """
        self.runner.model.eval()
        metrics: dict[str, float] = {}
        for name, loader in self.dataloaders.items():
            self.dataloader = loader
            for index, batch in enumerate(loader):
                run_iter(index, name, batch)
            metrics.update(self.evaluator.evaluate(name, len(loader.dataset)))  # type: ignore[arg-type]
        metrics.update(self.evaluator.aggregate(metrics))
        return metrics

    def run_iter(self, index: int, source: str, batch: Any) -> None:
        """Predict one batch of one source, with the hooks of a validation."""
        self.runner.call_hook(f'before_{self.stage}_iter', batch_idx=index, data_batch=batch)
        outputs = self.predict(source, batch)
        self.runner.call_hook(f'after_{self.stage}_iter', batch_idx=index, data_batch=batch, outputs=outputs)

    @torch.no_grad()
    def predict(self, source: str, batch: Any) -> Any:
        """Predict a batch of one source, and pass the predictions to its metrics."""
        with autocast(enabled=self.fp16):
            outputs = self.runner.model.val_step({source: batch})
        self.evaluator.process(source, outputs, batch)
        return outputs


@LOOPS.register_module()
class MultiSourceTestLoop(MultiSourceValLoop):
    """Test loop over all sources, with the hooks of a test."""

    stage = 'test'


def _build_loader(runner: Runner, source: Source) -> DataLoader:
    config = dict(source.val_dataloader or {})
    settings = config.get('dataset', {})
    # Validation skips no image: a metric of fewer images is another metric.
    strict = replace(source, bad_data=BadData())
    try:
        dataset = build_deferred(settings)
        parts = list(leaves(dataset))
        read_once(lambda: read_annotations(strict, dataset, parts, whole=source.bad_data.skips), parts)
        loader = Runner.build_dataloader({**config, 'dataset': as_config(dataset)}, seed=runner.seed)
        guard(strict, loader.dataset)
    except ConfigError:
        raise
    except Exception as error:
        raise SourceError(
            f"source '{source.name}': its val_dataloader cannot be built: {one_line(error)} "
            f'(dataset {settings.get("type")}, data_root {settings.get("data_root")!r})'
        ) from error
    return loader
