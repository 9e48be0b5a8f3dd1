"""Pages of the packages, and of all that configs can name, read from the sources without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

KINDS = {
    'MODELS': 'Models',
    'DATASETS': 'Datasets',
    'DATA_SAMPLERS': 'Samplers',
    'FUNCTIONS': 'Functions',
    'HOOKS': 'Hooks',
    'LOOPS': 'Loops',
    'EVALUATOR': 'Evaluators',
    'OPTIM_WRAPPERS': 'Optimizer wrappers',
    'OPTIM_WRAPPER_CONSTRUCTORS': 'Constructors of optimizer wrappers',
    'RUNNERS': 'Runners',
}
# Read by the components above, as dicts within their settings.
SETTINGS_WITHIN = {
    'One source': 'xlearner_mm.sources.Source',
    'Bad images of a source': 'xlearner_mm.sources.BadData',
    'Reconciliation links': 'xlearner_mm.models.expansion.reconciliation.Reconciliation',
    'A branch': 'xlearner_mm.models.expansion.branch.Branch',
    'Hints': 'xlearner_mm.models.expansion.hints.HintTeacher',
    'The teacher of a squeeze': 'xlearner_mm.models.squeeze.teachers.Teacher',
    'Further teachers': 'xlearner_mm.models.distillation.teachers.BackboneTeacher',
}


class Registered(NamedTuple):
    """Something that a config names by ``type=``."""

    kind: str
    name: str
    path: str
    summary: str


def packages(package: Path) -> dict[str, list[str]]:
    """Package -> its public modules, of all packages within one.

    Args:
        package: folder of the outermost.
    """
    found: dict[str, list[str]] = {}
    for init in sorted(package.rglob('__init__.py')):
        folder = init.parent
        if '.mim' in folder.parts:
            continue
        modules = [path.stem for path in sorted(folder.glob('*.py')) if not path.stem.startswith('_')]
        found[_dotted(folder, package)] = [f'{_dotted(folder, package)}.{module}' for module in modules]
    return found


def package_page(package: str, modules: list[str]) -> str:
    """Return the page of one package: its own docstring, and everything public of its modules."""
    own = f'# {package}\n\n::: {package}\n    options:\n      members: false\n      show_root_heading: false\n'
    # The package's anchor, which the hidden heading would have.
    parts = [own.replace(f'# {package}\n', f'# {package} {{#{package}}}\n', 1)]
    parts += [f'::: {module}\n    options:\n      heading_level: 2\n' for module in modules]
    return '\n'.join(parts)


def names_page(package: Path) -> str:
    """Return the page of all registered names, and of the settings within them, each with a link to its arguments."""
    lines = [
        '# Everything that a config can name',
        '',
        "All are in MMEngine's root registries, found by `type='<name>'` from every scope once `xlearner_mm` is "
        'imported. A name leads to its arguments with their defaults. What the stock libraries register is in their '
        'own manuals.',
    ]
    registered = list(all_registered(package))
    for kind, title in KINDS.items():
        lines += ['', f'## {title}', '', '| `type` | what it is |', '|---|---|']
        lines += [f'| [`{one.name}`][{one.path}] | {one.summary} |' for one in registered if one.kind == kind]
    lines += ['', '## Settings within them', '', '| settings | read by |', '|---|---|']
    lines += [f'| {title} | [`{path.rpartition(".")[2]}`][{path}] |' for title, path in SETTINGS_WITHIN.items()]
    return '\n'.join(lines) + '\n'


def all_registered(package: Path) -> Iterator[Registered]:
    """Yield what is registered, in the order of its names.

    Raises:
        KeyError: a registry that has no title in ``KINDS``.
    """
    found = []
    for path in package.rglob('*.py'):
        if '.mim' in path.parts or 'testing' in path.parts:
            continue
        module = _dotted(path.with_suffix(''), package)
        found += list(_registered_in(ast.parse(path.read_text()), module))
    unknown = {one.kind for one in found} - KINDS.keys()
    if unknown:
        raise KeyError(f'registries {sorted(unknown)} need a title in KINDS')
    return iter(sorted(found, key=lambda one: one.name))


def _registered_in(tree: ast.Module, module: str) -> Iterator[Registered]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            if call is None or not isinstance(call.func, ast.Attribute) or call.func.attr != 'register_module':
                continue
            given = [keyword.value.value for keyword in call.keywords if keyword.arg == 'name']
            summary = (ast.get_docstring(node) or '').split('\n\n')[0].replace('\n', ' ')
            name = given[0] if given else node.name
            yield Registered(call.func.value.id, name, f'{module}.{node.name}', summary)


def _dotted(path: Path, package: Path) -> str:
    return '.'.join(path.relative_to(package.parent).parts)
