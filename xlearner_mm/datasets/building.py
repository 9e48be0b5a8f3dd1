"""Build a source's stock dataset, with its annotations left to read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import Registry

from xlearner_mm.errors import SourceError
from xlearner_mm.nearest_name import settings_of
from xlearner_mm.registry import DATASETS, type_of

_EXECUTED = ('.pkl', '.pickle', '.yaml', '.yml')


def build_deferred(config: Mapping[str, Any]) -> Any:
    """Build a dataset that reads its annotations in ``full_init``, as far as its classes take ``lazy_init``.

    Args:
        config: of a dataset, or of wrappers around datasets.

    Raises:
        SourceError: a setting names a pickle or a YAML file, which MMEngine would execute.
    """
    _refuse_executed(config)
    return build_unread(config)


def build_unread(config: Mapping[str, Any]) -> Any:
    """Do the same for a training on one stock data set, whose files are its own business.

    Args:
        config: of a dataset, or of wrappers around datasets.
    """
    with DATASETS.switch_scope_and_registry(config.get('_scope_')) as registry:
        deferred = _deferred(config, registry, outermost=True)
    return DATASETS.build(deferred)


def as_config(dataset: Any) -> dict[str, Any]:
    """Return a config that builds a data set which is built already.

    Given the data set itself, MMEngine would copy it for its loader, with all annotations.

    Args:
        dataset: any data set.
    """
    return {'type': lambda: dataset}


def _refuse_executed(settings: Any, place: str = 'dataset') -> None:
    """MMEngine reads annotations by the end of their name: of these two kinds, it executes what is in them."""
    if isinstance(settings, str) and settings.lower().endswith(_EXECUTED):
        raise SourceError(
            f"{place} is '{settings}': reading a file of this kind executes what is in it; convert it to JSON, and "
            'only where you trust whoever made it'
        )
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            _refuse_executed(value, f'{place}.{key}')
    elif isinstance(settings, (list, tuple)):
        for number, value in enumerate(settings):
            _refuse_executed(value, f'{place}[{number}]')


def _deferred(config: Mapping[str, Any], registry: Registry, outermost: bool) -> dict[str, Any]:
    settings = dict(config)
    if isinstance(settings.get('dataset'), Mapping):
        settings['dataset'] = _deferred(settings['dataset'], registry, outermost=False)
    if isinstance(settings.get('datasets'), (list, tuple)):
        settings['datasets'] = [
            _deferred(inner, registry, outermost=False) if isinstance(inner, Mapping) else inner
            for inner in settings['datasets']
        ]
    cls = type_of(settings, registry)
    # Wrappers take over the classes of what they hold when they are built: those must be known by then.
    if inspect.isclass(cls) and 'lazy_init' in settings_of(cls) and (outermost or _knows_its_classes(cls, settings)):
        settings.setdefault('lazy_init', True)
    return settings


def _knows_its_classes(cls: type, settings: Mapping[str, Any]) -> bool:
    if not issubclass(cls, BaseDataset):
        return True
    return 'classes' in getattr(cls, 'METAINFO', ()) or 'classes' in (settings.get('metainfo') or ())
