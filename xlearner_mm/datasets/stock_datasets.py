"""Stock datasets: built with their annotations unread, and found below wrappers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import Registry

from xlearner_mm.errors import ConfigError
from xlearner_mm.nearest_name import settings_of
from xlearner_mm.registry import DATASETS, type_of

_EXECUTED = ('.pkl', '.pickle', '.yaml', '.yml')


def build_deferred(config: Mapping[str, Any]) -> Any:
    """Build a dataset, or wrappers around datasets, that read annotations in ``full_init`` where they can.

    ``lazy_init`` of their settings makes no difference: the caller reads, with its checks.

    Raises:
        ConfigError: a setting names a pickle or a YAML file, which MMEngine would execute.
    """
    _refuse_executed(config)
    return build_unread(config)


def build_unread(config: Mapping[str, Any]) -> Any:
    """As :func:`build_deferred`, without its check of the files."""
    with DATASETS.switch_scope_and_registry(config.get('_scope_')) as registry:
        deferred = _deferred(config, registry, outermost=True)
    return DATASETS.build(deferred)


def as_config(dataset: Any) -> dict[str, Any]:
    """Return a config that builds an existing dataset: given the dataset itself, MMEngine's loader would copy it."""
    return {'type': lambda: dataset}


def leaves(dataset: Any) -> Iterator[BaseDataset]:
    """Yield MMEngine's datasets below wrappers such as those that concatenate or repeat."""
    if isinstance(dataset, BaseDataset):
        yield dataset
        return
    for part in [*getattr(dataset, 'datasets', ()), *([dataset.dataset] if hasattr(dataset, 'dataset') else [])]:
        yield from leaves(part)


def describe(info: Mapping[str, Any], index: int) -> str:
    """Return the path of an image for messages, or its index where it has none."""
    return str(info.get('img_path') or f'item {index}')


def origin(dataset: BaseDataset) -> str:
    """Return the annotation file of a dataset, or the folder of its images, for messages."""
    prefixes = getattr(dataset, 'data_prefix', None) or {}
    folders = [each for each in prefixes.values() if each] if isinstance(prefixes, Mapping) else [prefixes]
    return str(dataset.ann_file or next(iter(folders), None) or dataset.data_root or type(dataset).__name__)


def _refuse_executed(settings: Any, place: str = 'dataset') -> None:
    """Refuse names of files that MMEngine, which chooses a reader by the suffix, would execute."""
    if isinstance(settings, str) and settings.lower().endswith(_EXECUTED):
        raise ConfigError(
            f"{place} is '{settings}': reading a file of this kind executes its content; if you trust its author, "
            'convert it to JSON'
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
    # Wrappers copy the classes of their datasets when they are built, so these must be known by then.
    if inspect.isclass(cls) and 'lazy_init' in settings_of(cls) and (outermost or _knows_its_classes(cls, settings)):
        settings['lazy_init'] = True
    return settings


def _knows_its_classes(cls: type, settings: Mapping[str, Any]) -> bool:
    if not issubclass(cls, BaseDataset):
        return True
    return 'classes' in getattr(cls, 'METAINFO', ()) or 'classes' in (settings.get('metainfo') or ())
