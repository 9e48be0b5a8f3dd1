"""Dataclasses as JSON: fields at their defaults are omitted, and reading checks names and types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints


def to_json(value: Any) -> Any:
    """Return dataclasses, nested in dicts and lists as well, as plain data; inverse of :func:`from_json`."""
    if is_dataclass(value) and not isinstance(value, type):
        stored = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: to_json(item) for field, item in stored if _required(field) or item != _default(field)}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def from_json(kind: Any, content: Any, where: str = 'content') -> Any:
    """Return plain data as a value of a type.

    Args:
        kind: a dataclass, ``dict[str, ...]``, ``list[...]``, a union, or a plain type.
        content: data read from JSON.
        where: name of the data in error messages. Defaults to ``'content'``.

    Raises:
        ValueError: a missing or unknown field, or a value of another type.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        for option in args:
            try:
                return from_json(option, content, where)
            except ValueError:
                continue
    elif origin is dict and isinstance(content, dict):
        return {key: from_json(args[1], item, f'{where}.{key}') for key, item in content.items()}
    elif origin is list and isinstance(content, list):
        return [from_json(args[0], item, f'{where}[{number}]') for number, item in enumerate(content)]
    elif is_dataclass(kind) and isinstance(content, dict):
        known = {field.name: field for field in fields(kind)}
        missing = [name for name, field in known.items() if _required(field) and name not in content]
        unknown = [name for name in content if name not in known]
        if missing or unknown:
            raise ValueError(f'{where} has ' + (f'no {missing[0]!r}' if missing else f'an unknown {unknown[0]!r}'))
        hints = get_type_hints(kind)
        values = {name: from_json(hints[name], item, f'{where}.{name}') for name, item in content.items()}
        return cast(Callable[..., Any], kind)(**values)
    elif origin is None and not is_dataclass(kind) and _is_plain(kind, content):
        return content
    expected = 'an object' if is_dataclass(kind) else getattr(kind, '__name__', kind) if origin is None else kind
    raise ValueError(f'{where} is {content!r:.60}, expected {expected}')


def _is_plain(kind: type, content: Any) -> bool:
    if isinstance(content, bool) or kind is bool:
        return kind is bool and isinstance(content, bool)
    return isinstance(content, (int, float) if kind is float else kind)


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
