"""Text of Python configs: settings as code, each with the reason for it."""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_WIDTH = 118
_ONE_A_LINE = 10  # numbers of a list; more fill the line
SPREAD = '**'
"""Key of a mapping that is written as ``**name``; its value is a :class:`Name`."""


class Name(str):
    """An expression that is written as it is, such as the name of a variable."""


@dataclass(frozen=True)
class Choice:
    """A top-level setting of a config that was chosen, and why.

    Args:
        setting: its name.
        value: anything that :func:`code` can write.
        reason: one sentence.
    """

    setting: str
    value: Any
    reason: str

    def text(self) -> str:
        """Return it as lines of a config, the reason as a comment above."""
        return f'{comment(self.reason)}\n{assignment(self.setting, self.value)}'


def comment(text: str) -> str:
    """Return text as a comment, wrapped."""
    text = text[:1].upper() + text[1:]
    return textwrap.fill(text, _WIDTH, initial_indent='# ', subsequent_indent='# ', break_on_hyphens=False)


def assignment(name: str, value: Any) -> str:
    """Return a line, or several, that assign a value to a name."""
    return f'{name} = {code(value, first=len(name) + 3)}'


def code(value: Any, indent: int = 0, first: int = 0) -> str:
    """Return Python code of a value made of mappings, lists, tuples and scalars; mappings as ``dict(...)``.

    Args:
        value: the value.
        indent: spaces before its lines. Defaults to 0.
        first: characters before it in its first line. Defaults to 0.
    """
    if isinstance(value, Name):
        return str(value)
    if not isinstance(value, Mapping | list | tuple):
        return repr(value)
    opening, closing = _brackets(value)
    flat = opening + ', '.join(_parts(value, 0)) + (',' if type(value) is tuple and len(value) == 1 else '') + closing
    if '\n' not in flat and first + len(flat) <= _WIDTH:
        return flat
    inner = ' ' * (indent + 4)
    lines = ''.join(f'{inner}{part},\n' for part in _parts(value, indent + 4))
    if not isinstance(value, Mapping) and len(value) > _ONE_A_LINE and all(isinstance(item, int) for item in value):
        lines = textwrap.indent(textwrap.fill(', '.join(_parts(value, 0)) + ',', _WIDTH - len(inner)), inner) + '\n'
    return f'{opening}\n{lines}{" " * indent}{closing}'


def _brackets(value: Any) -> tuple[str, str]:
    if isinstance(value, Mapping):
        return ('dict(', ')') if all(_is_name(key) for key in value) else ('{', '}')
    return ('[', ']') if isinstance(value, list) else ('(', ')')


def _parts(value: Any, indent: int) -> Iterable[str]:
    if not isinstance(value, Mapping):
        return [code(item, indent, indent) for item in value]
    named = _brackets(value)[0] == 'dict('
    parts = []
    for key, item in value.items():
        start = SPREAD if key == SPREAD else f'{key}=' if named else f'{key!r}: '
        parts.append(start + code(item, indent, indent + len(start)))
    return parts


def _is_name(key: Any) -> bool:
    return key == SPREAD or (isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key))
