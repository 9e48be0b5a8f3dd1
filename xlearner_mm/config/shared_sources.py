"""A training config's `sources`, listed once and shared by all components that read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from xlearner_mm.errors import SourceError
from xlearner_mm.nearest_name import settings_of
from xlearner_mm.registry import DATASETS, EVALUATOR, MODELS, Registry, type_of
from xlearner_mm.sources import Source, parse_sources

_READERS: dict[str, Registry] = {
    'model': MODELS,
    'model.teacher.model': MODELS,
    'train_dataloader.dataset': DATASETS,
    'val_evaluator': EVALUATOR,
    'test_evaluator': EVALUATOR,
}
"""Components that take sources, and where they are registered."""


def with_sources(settings: Config | Mapping[str, Any]) -> dict[str, Any]:
    """Return a training's settings with its top-level `sources` parsed and handed to dataset, learner and evaluators.

    The loader's batch size becomes the sum of the sources' batch sizes. Components of a config without top-level
    `sources` keep those of their own.

    Args:
        settings: a config, or the arguments of a runner; left unchanged.

    Raises:
        SourceError: a component with sources of its own beside those at top level, or what
            :func:`~xlearner_mm.sources.parse_sources` refuses.
    """
    filled = dict(settings.items())
    found = filled.get('sources')
    if not isinstance(found, Mapping):
        return filled
    readers = [path for path, registry in _READERS.items() if _takes_sources(_at(filled, path), registry)]
    if not readers:
        return filled
    parsed = parse_sources(found)
    for path in readers:
        component = _at(filled, path)
        if 'sources' in component:
            raise SourceError(
                f'the config lists sources at top level {list(parsed)} and in {path} {list(component["sources"])}: '
                f'list them at top level alone, and leave {path}.sources out'
            )
        filled = _replace(filled, path.split('.'), type(component)({**component, 'sources': parsed}))
    if 'train_dataloader.dataset' in readers:
        loader = filled['train_dataloader']
        loader.setdefault('batch_size', sum(source.batch_size for source in parsed.values()))
    return filled


def sources_of(settings: Config | Mapping[str, Any]) -> dict[str, Source]:
    """Return a training config's sources: those at top level, or else those of its dataset.

    Raises:
        SourceError: none, or what :func:`~xlearner_mm.sources.parse_sources` refuses.
    """
    found = settings.get('sources') or (_at(settings, 'train_dataloader.dataset') or {}).get('sources')
    if not found:
        named = getattr(settings, 'filename', None) or 'the config'
        raise SourceError(f'{named} has no sources, neither at top level nor in train_dataloader.dataset')
    return parse_sources(found)


def _at(settings: Any, path: str) -> Any:
    for key in path.split('.'):
        settings = settings.get(key) if isinstance(settings, Mapping | Config) else None
    return settings


def _takes_sources(component: Any, registry: Registry) -> bool:
    taker = type_of(component, registry) if isinstance(component, Mapping) else None
    return taker is not None and 'sources' in settings_of(taker)


def _replace(settings: Any, path: list[str], component: Any) -> Any:
    """Return a copy with one component replaced; all that is not on the path is shared."""
    key, *rest = path
    return type(settings)({**settings, key: _replace(settings[key], rest, component) if rest else component})
