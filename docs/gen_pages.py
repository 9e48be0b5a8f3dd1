"""Pages of the site that are not files of docs/, and links between all pages, for mkdocs-gen-files."""

import os
import posixpath
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r'(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s:#]+)(#[^()\s]*)?\)')
REGISTRIES = ['MODELS', 'DATASETS', 'DATA_SAMPLERS', 'FUNCTIONS', 'HOOKS', 'LOOPS', 'EVALUATOR', 'RUNNERS']
REGISTRIES += ['OPTIM_WRAPPERS', 'OPTIM_WRAPPER_CONSTRUCTORS', 'MODEL_WRAPPERS']
# Read as dicts within the settings of registered classes.
DICTS = [
    'sources.Source',
    'sources.BadData',
    'models.expansion.reconciliation.Reconciliation',
    'models.expansion.branch.Branch',
]
DICTS += ['models.expansion.hints.HintTeacher', 'models.squeeze.teachers.Teacher']
DICTS += ['models.distillation.teachers.BackboneTeacher']


def file_pages() -> dict[str, str]:
    """Return file of the repository -> its page."""
    found = [
        path.relative_to(ROOT).as_posix() for path in [*ROOT.glob('docs/*.md'), *ROOT.glob('configs/**/README.md')]
    ]
    of_root = {f'{name}.md': f'{name.lower()}.md' for name in ('CHANGELOG', 'CONTRIBUTING', 'SECURITY')}
    return {'README.md': 'index.md', **of_root, **{f: f.removeprefix('docs/') for f in found}}


def packages() -> dict[str, list[str]]:
    """Return package -> its public modules."""
    inits = (path for path in sorted(ROOT.glob('xlearner_mm/**/__init__.py')) if '.mim' not in path.parts)
    folders = {'.'.join(init.parent.relative_to(ROOT).parts): sorted(init.parent.glob('*.py')) for init in inits}
    return {name: [f'{name}.{f.stem}' for f in files if not f.stem.startswith('_')] for name, files in folders.items()}


def relink(markdown: str, source: str, page: str) -> str:
    """Turn links of ``source`` to files of the repository into links between pages; others become plain text."""

    def replaced(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[3]))
        if not (ROOT / target).exists():
            raise ValueError(f'{source}: the link to {link[3]} leads nowhere')
        pages, module = file_pages(), re.sub(r'(/__init__)?\.py$', '', target).replace('/', '.')
        found = pages.get(target) or pages.get(f'{target}/README.md')
        if target.startswith('xlearner_mm') and (target.endswith('.py') or module in packages()):
            found = f'api/{module if module in packages() else module.rpartition(".")[0]}.md#{module}'
        elif target.endswith('.png'):
            found = target.removeprefix('docs/')
        relative = found and posixpath.relpath(found, posixpath.dirname(page) or '.')
        return f'{link[1]}[{link[2]}]({relative}{link[4] or ""})' if found else link[2]

    parts = re.split(r'(^ *```.*?^ *```$)', markdown, flags=re.DOTALL | re.MULTILINE)
    return ''.join(part if part.lstrip().startswith('```') else LINK.sub(replaced, part) for part in parts)


def registered() -> dict[tuple[str, str], str]:
    """Return (registry, name) -> dotted path, of everything of ours that a config can name by ``type=``."""
    registry: ModuleType = import_module('mmengine.registry')
    import_module('xlearner_mm')
    found = {(kind, name): c for kind in REGISTRIES for name, c in getattr(registry, kind).module_dict.items()}
    return {k: f'{c.__module__}.{c.__name__}' for k, c in found.items() if c.__module__.startswith('xlearner_mm.')}


def names_page() -> str:
    """Return a table of everything that a config can name, with links to the arguments."""
    rows = [*((kind, name, path) for (kind, name), path in sorted(registered().items()))]
    rows += [('a dict', path.rpartition('.')[2], f'xlearner_mm.{path}') for path in DICTS]
    lines = ['# Everything that a config can name\n', '| `type` | registry | summary |', '|---|---|---|']
    for kind, name, path in rows:
        thing = getattr(import_module(path.rpartition('.')[0]), path.rpartition('.')[2])
        summary = (thing.__doc__ or '').split('\n\n')[0].replace('\n', ' ')
        lines.append(f'| [`{name}`][{thing.__module__}.{thing.__name__}] | {kind} | {summary} |')
    return '\n'.join(lines) + '\n'


def tools_page() -> str:
    """Return the ``--help`` of every command line."""
    scripts = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob('tools/**/*.py'))]
    commands = [*([script] for script in scripts), ['-m', 'xlearner_mm.doctor']]

    def text(command: list[str]) -> str:
        call, env = [sys.executable, *command, '--help'], {**os.environ, 'COLUMNS': '100'}
        done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, env=env, check=True)
        return f'## `python {" ".join(command)}`\n\n```text\n{done.stdout.strip()}\n```\n'

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        helps = list(pool.map(text, commands))
    for path in sorted(ROOT.glob('tools/*.sh')):
        comment = '\n'.join(re.findall(r'^# ?(.*)$', path.read_text().partition('\nset ')[0], re.MULTILINE))
        helps.append(f'## `bash tools/{path.name}`\n\n```text\n{comment}\n```\n')
    return (
        '# Command lines\n\nThe `--help` of each. `--cfg-options` overrides any setting of a config.\n\n'
        + '\n'.join(helps)
    )


def pages() -> dict[str, str]:
    """Return page -> Markdown."""
    written = {page: relink((ROOT / file).read_text(), file, page) for file, page in file_pages().items()}
    for name, modules in packages().items():
        own = f'::: {name}\n    options: {{members: false, show_root_heading: false}}\n'
        each = [f'::: {module}\n    options: {{heading_level: 2}}\n' for module in modules]
        written[f'api/{name}.md'] = '\n'.join([f'# {name} {{#{name}}}\n', own, *each])
    return {**written, 'settings/names.md': names_page(), 'settings/tools.md': tools_page()}


if __name__ == '<run_path>':
    import mkdocs_gen_files

    for page, markdown in pages().items():
        with mkdocs_gen_files.open(page, 'w') as file:
            file.write(markdown)
