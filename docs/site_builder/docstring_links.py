"""Cross-references of docstrings, written in Sphinx's manner, as links of the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r':(?:class|func|meth|mod|data|attr|exc):`(?P<short>~?)(?P<path>[\w.]+)`')
OURS = 'xlearner_mm'


class DocstringLinks(griffe.Extension):
    """Turn roles into cross-references where the object is ours, and into code where it is not."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Visit all docstrings once the package is read, so that every name can be resolved."""
        if pkg.path == OURS:
            _visit(pkg, pkg)


def _visit(thing: griffe.Object, package: griffe.Module) -> None:
    if thing.docstring is not None:
        thing.docstring.value = ROLE.sub(lambda role: _link(role, thing, package), thing.docstring.value)
    for member in thing.members.values():
        if not member.is_alias:
            _visit(member, package)


def _link(role: re.Match[str], thing: griffe.Object, package: griffe.Module) -> str:
    path = role['path']
    shown = path.rpartition('.')[2] if role['short'] else path
    target = _canonical(path, thing, package)
    return f'[`{shown}`][{target}]' if target else f'`{shown}`'


def _canonical(path: str, thing: griffe.Object, package: griffe.Module) -> str | None:
    """Return the path under which the site shows an object of ours; None when it shows none."""
    if not path.startswith(f'{OURS}.'):
        scopes = [scope for scope in (thing, thing.parent, thing.module) if scope is not None]
        path = next((scope.members[path].path for scope in scopes if path in scope.members), '')
    try:
        found = package[path.removeprefix(f'{OURS}.')] if path else None
        # Without a docstring nothing is shown.
        return found.canonical_path if found is not None and found.has_docstring else None
    except (KeyError, griffe.AliasResolutionError, griffe.BuiltinModuleError):
        return None
