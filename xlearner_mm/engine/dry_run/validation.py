"""Validation, as far as it can be built without its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.runner import Runner

from xlearner_mm.datasets.building import build_deferred
from xlearner_mm.datasets.categories import classes_of
from xlearner_mm.datasets.source import SourceError
from xlearner_mm.evaluation.coco_ground_truth import prepare_ground_truth
from xlearner_mm.registry import METRICS


def check_validation(runner: Runner) -> list[str]:
    """Build data sets and metrics of validation; their annotations are left unread.

    Args:
        runner: of the training.

    Returns:
        What could not be checked, because it reads files that are not there.

    Raises:
        SourceError: what cannot be built.
    """
    notes = []
    for owner, loader, metrics in _validations(runner.cfg):
        try:
            dataset = build_deferred(loader['dataset'])
            for metric in [metrics] if isinstance(metrics, Mapping) else metrics:
                prepare_ground_truth(METRICS.build(dict(metric)), classes_of(dataset))
        except FileNotFoundError as error:
            notes.append(f'{owner}validation is not checked: {error.filename or error} is not there')
        except Exception as error:
            raise SourceError(f'{owner}validation cannot be built: {type(error).__name__}: {error}') from error
    return notes


def _validations(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Whose validation it is, its loader and its metrics."""
    loader, evaluator = cfg.get('val_dataloader') or {}, cfg.get('val_evaluator') or {}
    if 'dataset' in loader:
        yield '', loader, evaluator
    for name, source in (loader.get('sources') or {}).items():
        if source.get('val_dataloader'):
            yield f"source '{name}': ", source['val_dataloader'], source['val_evaluator']
