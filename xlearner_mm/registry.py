"""MMEngine's root registries, and the meaning of ``type`` in a config.

Our classes are registered in the *root* registries, where mmdet, mmseg and mmpretrain find them without a prefix.

A ``type`` may be written in four ways: ``'CocoDataset'``, ``'mmdet.CocoDataset'``,
``'mmdet.datasets.coco.CocoDataset'`` (in dumps of configs with ``read_base()``) and the class itself. So compare types
by :func:`names_a` or :func:`bare_name`, never as strings.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import mmengine.registry
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.evaluator import Evaluator  # noqa: F401
from mmengine.registry import (  # noqa: F401
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    FUNCTIONS,
    HOOKS,
    LOOPS,
    METRICS,
    MODEL_WRAPPERS,
    MODELS,
    OPTIM_WRAPPERS,
    RUNNERS,
    WEIGHT_INITIALIZERS,
    DefaultScope,
    Registry,
    init_default_scope,
)
from mmengine.utils import get_object_from_string

from xlearner_mm.nearest_name import nearest

LIBRARIES = ('mmdet', 'mmseg', 'mmpretrain')
"""The libraries of stock networks and datasets, by their scopes."""
_UNREGISTERED = re.compile(r'(?P<kind>[\w.]+) is not in the (?:(?P<scope>\w+)::)?(?P<name>[\w ]+?) registry')


def type_of(settings: Mapping[str, Any], registry: Registry) -> Any:
    """Return the class or function that a config's ``type`` names in its ``_scope_``; None if there is none.

    Args:
        settings: the config.
        registry: where it would be built.
    """
    kind = _built(settings.get('type'))
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(settings.get('_scope_')) as found:
        try:
            return found.get(kind)
        except (KeyError, RuntimeError):  # MMEngine's versions differ
            return None


def names_a(settings: Any, wanted: type | tuple[type, ...], registry: Registry) -> bool:
    """Return whether a config names a class or a subclass of it, however its ``type`` is written.

    Args:
        settings: a config; False for anything else.
        wanted: the class, or several.
        registry: where it would be built.
    """
    kind = type_of(settings, registry) if isinstance(settings, Mapping) else None
    return inspect.isclass(kind) and issubclass(kind, wanted)


def bare_name(kind: Any) -> str:
    """Return the name in a ``type`` without library and module; imports no library."""
    return registered_name(kind).rsplit('.', 1)[-1]


def registered_name(kind: Any) -> str:
    """Return the registered name of a ``type``, with its library's scope unless it is in the root registry.

    Args:
        kind: the value of a ``type``. Registered names, and paths of unregistered objects, are returned unchanged.
    """
    kind = _built(kind)
    if isinstance(kind, str):
        if kind.count('.') < 2 and not _is_importable(kind):
            return kind
        kind, path = get_object_from_string(kind), kind
    else:
        path = f'{getattr(kind, "__module__", "")}.{getattr(kind, "__qualname__", kind)}'
    found = () if kind is None else _registrations(kind)
    own = getattr(kind, '__name__', None)
    return min(found, key=lambda name: ('.' in name, name.rsplit('.', 1)[-1] != own), default=path)


def with_registered_names(settings: Any) -> Any:
    """Return settings in which every ``type`` is a registered name, as dumps and checkpoints need it."""
    if isinstance(settings, Mapping):
        return {
            key: registered_name(value) if key == 'type' and _names_something(value) else with_registered_names(value)
            for key, value in settings.items()
        }
    if isinstance(settings, list | tuple):
        return type(settings)(with_registered_names(value) for value in settings)
    return settings


def missing_type(error: BaseException) -> str | None:
    """Explain an unregistered ``type`` in one line: the library that has it, or the nearest name.

    Args:
        error: raised while a config was built.

    Returns:
        The explanation; None for any other error.
    """
    found = _UNREGISTERED.search(str(error)) if isinstance(error, KeyError) else None
    if found is None:
        return None
    kind, scope, name = found['kind'], found['scope'] or 'mmengine', found['name']
    known = {library: _names_in(library, name) for library in dict.fromkeys(('mmengine', scope, *LIBRARIES))}
    having = [library for library, names in known.items() if kind in names and library != scope]
    said = f"there is no {name} '{kind}' in the scope of {scope}"
    if having:
        library = having[0]
        also = f' (so do {", ".join(having[1:])})' if having[1:] else ''
        return (
            f"{said}, but {library} has it{also}: write _scope_='{library}' into the outermost dict of the "
            f"dataset, network or metric, or type='{library}.{kind}'"
        )
    return f'{said}{nearest(kind, sorted(known[scope] | known["mmengine"]), f"{name} types")}'


def _names_in(library: str, name: str) -> set[str]:
    """Return the names in one registry of a library, none if it is not installed."""
    roots = [each for each in vars(mmengine.registry).values() if isinstance(each, Registry)]
    try:
        import_module(f'{library}.registry')
        found = [registry for root in roots for registry in _branches(root, library) if registry.name == name]
        for registry in found:
            registry.import_from_location()
    except ImportError:
        return set()
    return {each for registry in found for each in registry.module_dict}


def _branches(root: Registry, library: str) -> list[Registry]:
    return [root] if library == root.scope else [root.children[library]] if library in root.children else []


def _names_something(value: Any) -> bool:
    return isinstance(value, str | LazyObject | LazyAttr) or inspect.isclass(value) or inspect.isfunction(value)


def _built(kind: Any) -> Any:
    return kind.build() if isinstance(kind, LazyObject | LazyAttr) else kind


def _is_importable(kind: str) -> bool:
    """Return whether ``a.B`` is the class B of the module a, not B in the registry of the scope a."""
    library, dot, _ = kind.partition('.')
    return bool(dot) and library not in _scopes() and get_object_from_string(kind) is not None


def _scopes() -> set[str]:
    return {'mmengine', 'mmcv', *LIBRARIES, *MODELS.children}


def _registrations(kind: Any) -> Iterator[str]:
    """Yield the names under which a class or function is registered anywhere."""
    for root in vars(mmengine.registry).values():
        if not isinstance(root, Registry):
            continue
        for registry in (root, *root.children.values()):
            for name, module in registry.module_dict.items():
                if module is kind:
                    yield name if registry is root and not _is_hidden(name, kind, root) else f'{registry.scope}.{name}'


def _is_hidden(name: str, kind: Any, root: Registry) -> bool:
    """Return whether a library registers something else under a name of the root registry."""
    others = (child.module_dict.get(name, kind) for child in root.children.values())
    return any((other.func if isinstance(other, partial) else other) is not kind for other in others)


def plain(value: Any) -> Any:
    """Convert a config to dicts, lists, numbers and strings, with registered names as ``type``.

    Raises:
        TypeError: a value that is no data, such as a module.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in with_registered_names(value).items()}
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise TypeError(f'{value!r} is no plain data')
