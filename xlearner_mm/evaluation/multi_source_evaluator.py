"""One stock evaluator per source, results prefixed by source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xlearner_mm.datasets.stock_datasets import leaves
from xlearner_mm.errors import ConfigError, SourceError, describe_error, one_line
from xlearner_mm.evaluation.coco_ground_truth import compare_images, prepare_ground_truth
from xlearner_mm.registry import EVALUATOR, METRICS, Evaluator
from xlearner_mm.sources import Source, parse_sources

AGGREGATE = 'sources/mean'


@EVALUATOR.register_module()
class MultiSourceEvaluator:
    """Evaluate every source with its own stock metrics.

    Results are keyed ``<source>/<metric>``. ``sources/mean`` is the mean of the sources' ``primary_metric`` in
    percent: what ``save_best='sources/mean'`` goes by.

    Args:
        sources: source name -> settings; sources without ``val_evaluator`` are left out. ``XLearnerRunner.from_cfg``
            passes those at the top level of a config. Required.

    Raises:
        ConfigError: no source can be evaluated.
    """

    def __init__(self, sources: Mapping[str, Any] | None = None) -> None:
        self.sources: dict[str, Source] = {
            name: source for name, source in parse_sources(sources).items() if source.val_evaluator is not None
        }
        if not self.sources:
            raise ConfigError('no source has a val_evaluator: nothing can be evaluated')
        self.evaluators = {name: Evaluator(_build_metrics(source)) for name, source in self.sources.items()}

    def set_dataset_meta(self, source: str, metainfo: dict) -> None:
        """Tell a source's metrics the metainfo of its dataset, see ``prepare_ground_truth``.

        Raises:
            SourceError: annotations that a metric reads itself and cannot use; the message names source and file.
        """
        self.evaluators[source].dataset_meta = metainfo
        for metric, settings in self._metrics(source):
            try:
                prepare_ground_truth(metric, metainfo.get('classes') or ())
            except Exception as error:
                raise _unusable(source, settings, error) from error

    def compare_images(self, source: str, dataset: Any) -> list[str]:
        """Measure on the images of a source's dataset alone, and return what is worth knowing of it.

        Raises:
            SourceError: a metric whose annotations are of other images.
        """
        notes = []
        for metric, settings in self._metrics(source):
            try:
                notes.append(compare_images(metric, list(leaves(dataset))))
            except Exception as error:
                raise _unusable(source, settings, error) from error
        return [note for note in notes if note is not None]

    def _metrics(self, source: str) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Each metric of a source, and its config."""
        yield from zip(self.evaluators[source].metrics, _configs(self.sources[source]), strict=True)

    def process(self, source: str, data_samples: Sequence, data_batch: Any = None) -> None:
        """Take in one batch of a source's predictions."""
        self.evaluators[source].process(data_samples=data_samples, data_batch=data_batch)

    def evaluate(self, source: str, size: int) -> dict[str, float]:
        """Return a source's metrics over ``size`` images as ``<source>/<metric>``."""
        metrics = self.evaluators[source].evaluate(size)
        return {f'{source}/{name}': value for name, value in metrics.items()}

    def aggregate(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return ``sources/mean``: the mean over :meth:`primary`, in percent.

        Raises:
            SourceError: a primary metric that the source's evaluator does not give.
        """
        values = self.primary(metrics).values()
        return {AGGREGATE: sum(values) / len(values)} if values else {}

    def primary(self, metrics: Mapping[str, float], names: Sequence[str] | None = None) -> dict[str, float]:
        """Return the primary metric of the sources that declare one, in percent, by source.

        Args:
            metrics: those of all sources that are asked for.
            names: sources that are asked for. Defaults to None: all.

        Raises:
            SourceError: a primary metric that the source's evaluator does not give.
        """
        values = {}
        for name, source in self.sources.items():
            if source.primary_metric is None or (names is not None and name not in names):
                continue
            key = f'{name}/{source.primary_metric}'
            given = sorted(k for k in metrics if k.startswith(f'{name}/'))
            if not given:
                # Stock detection metrics give nothing where nothing at all is detected, as early in training.
                values[name] = 0.0
                continue
            if key not in metrics:
                raise SourceError(
                    f"source '{name}': primary_metric '{source.primary_metric}' is not among its metrics {given}"
                )
            values[name] = float(metrics[key]) * source.primary_scale
        return values


def _build_metrics(source: Source) -> list:
    configs = _configs(source)
    try:
        return [METRICS.build(dict(config)) for config in configs]
    except Exception as error:
        raise SourceError(
            f"source '{source.name}': its val_evaluator cannot be built: {one_line(error)} (it is {configs})"
        ) from error


def _configs(source: Source) -> list[Mapping[str, Any]]:
    configs = source.val_evaluator
    return [configs] if isinstance(configs, Mapping) else list(configs)


def _unusable(source: str, settings: Mapping[str, Any], error: Exception) -> SourceError:
    said = one_line(error) if isinstance(error, ValueError) else describe_error(error)
    what = f"source '{source}': its val_evaluator {settings.get('type')}"
    return SourceError(f'{what} cannot measure by {settings.get("ann_file")}: {said}')
