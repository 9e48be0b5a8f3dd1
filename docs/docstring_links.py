"""Links of the site for cross-references in docstrings, which are written as Sphinx roles."""

import re
from typing import Any

import griffe

ROLE = re.compile(r':(?:class|func|meth|mod|data|attr|exc):`(~?)([\w.]+)`')
OURS = 'xlearner_mm'


class DocstringLinks(griffe.Extension):
    """Turn roles into cross-references where the object is ours, and into code where it is not."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Visit all docstrings once the package is read, when every name can be resolved."""
        if pkg.path == OURS:
            _visit(pkg, pkg)


def _visit(thing: griffe.Object, package: griffe.Module) -> None:
    if thing.docstring is not None:
        thing.docstring.value = ROLE.sub(lambda role: _link(role, thing, package), thing.docstring.value)
    for member in thing.members.values():
        if not member.is_alias:
            _visit(member, package)


def _link(role: re.Match[str], thing: griffe.Object, package: griffe.Module) -> str:
    shown = path = role[2]
    if not path.startswith(f'{OURS}.'):
        scopes = [scope for scope in (thing, thing.parent, thing.module) if scope is not None]
        path = next((scope.members[path].path for scope in scopes if path in scope.members), '')
    shown = shown.rpartition('.')[2] if role[1] else shown
    try:
        found = package[path.removeprefix(f'{OURS}.')] if path else None
        # Objects without docstring are not shown.
        return f'[`{shown}`][{found.canonical_path}]' if found is not None and found.has_docstring else f'`{shown}`'
    except (KeyError, griffe.AliasResolutionError, griffe.BuiltinModuleError):
        return f'`{shown}`'
