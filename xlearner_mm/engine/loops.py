"""Validation and test of all sources, each with its own loader and metrics."""

from __future__ import annotations

import time
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
from xlearner_mm.engine.recovery.stop_signal import keep_workers
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

    def at_most(self, source: Source) -> int | None:
        """Return the number of images of a source that are evaluated; None for all."""
        return None

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
        self.dataloaders = {
            name: _build_loader(runner, source, self.at_most(source)) for name, source in self.evaluator.sources.items()
        }
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
class ValidationTimingLoop(MultiSourceValLoop):
    """Validation on the first images of every source, to tell how long one on all of them takes.

    Its metrics are ``<source>/start``, the seconds until the first batch is predicted beyond what another batch takes,
    and ``<source>/image``, the seconds of an image in the batches after it, with its share of the metrics' computation.
    The validation datasets are MMEngine's, without wrappers: they take ``indices``.
    """

    def at_most(self, source: Source) -> int | None:
        """Return the images of three batches, at least 48, without which the times vary much."""
        return max(3 * (source.val_dataloader or {}).get('batch_size', 1), 48)

    def measure(self, run_iter: Callable[[int, str, Any], None]) -> dict[str, float]:
        """Evaluate every source without the hooks of a validation, and return the times."""
        self.runner.model.eval()
        times: dict[str, float] = {}
        for name, loader in self.dataloaders.items():
            start, image = self._measure_source(name, loader, run_iter)
            times |= {f'{name}/start': start, f'{name}/image': image}
        return times

    def _measure_source(
        self, name: str, loader: DataLoader, run_iter: Callable[[int, str, Any], None]
    ) -> tuple[float, float]:
        self.dataloader = loader
        images, batch = len(loader.dataset), loader.batch_size or 1  # type: ignore[arg-type]
        ends = [time.monotonic()]
        for index, data in enumerate(loader):
            run_iter(index, name, data)
            ends.append(time.monotonic())
        self.evaluator.evaluate(name, images)
        first, computation = ends[1] - ends[0], time.monotonic() - ends[-1]
        # The first batch waits for the loader's processes. Where there is no other, all of its time is the images'.
        image = (ends[-1] - ends[1]) / (images - batch) if images > batch else first / images
        return max(0.0, first - min(batch, images) * image), image + computation / images


@LOOPS.register_module()
class MultiSourceTestLoop(MultiSourceValLoop):
    """Test loop over all sources, with the hooks of a test."""

    stage = 'test'


def _build_loader(runner: Runner, source: Source, images: int | None) -> DataLoader:
    config = dict(source.val_dataloader or {})
    settings = config.get('dataset', {})
    if images is not None:
        settings = {**settings, 'indices': images}
    # Validation skips no image: a metric of fewer images is another metric.
    strict = replace(source, bad_data=BadData())
    try:
        dataset = build_deferred(settings)
        parts = list(leaves(dataset))
        read_once(lambda: read_annotations(strict, dataset, parts, whole=source.bad_data.skips), parts)
        loader = keep_workers(Runner.build_dataloader({**config, 'dataset': as_config(dataset)}, seed=runner.seed))
        guard(strict, loader.dataset)
    except ConfigError:
        raise
    except Exception as error:
        raise SourceError(
            f"source '{source.name}': its val_dataloader cannot be built: {one_line(error)} "
            f'(dataset {settings.get("type")}, data_root {settings.get("data_root")!r})'
        ) from error
    return loader
