"""The documentation site: its pages, a build without warnings, viewing without a network."""

import ast
import html
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from xlearner_mm.testing import tiny_sources  # noqa: F401 - registers what tests use

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / 'xlearner_mm'


@pytest.fixture(scope='module')
def site():
    """Return the script that writes the generated pages."""
    sys.path.insert(0, str(ROOT / 'docs'))
    yield importlib.import_module('gen_pages')
    sys.path.remove(str(ROOT / 'docs'))
    sys.modules.pop('gen_pages')


def public_modules():
    for path in PACKAGE.rglob('*.py'):
        parts = path.relative_to(ROOT).with_suffix('').parts
        if '.mim' not in parts and not any(part.startswith('_') for part in parts):
            yield '.'.join(parts)


def test_every_public_module_is_on_a_page(site):
    shown = [module for modules in site.packages().values() for module in modules]
    assert sorted(shown) == sorted(public_modules())


def test_every_registered_name_is_on_the_page_of_names_and_no_other(site):
    decorated = set()
    for path in PACKAGE.rglob('*.py'):
        if '.mim' in path.parts or path.name == 'testing.py':
            continue
        for node in ast.parse(path.read_text()).body:
            for call in getattr(node, 'decorator_list', ()):
                if isinstance(call, ast.Call) and getattr(call.func, 'attr', '') == 'register_module':
                    given = [keyword.value.value for keyword in call.keywords if keyword.arg == 'name']
                    decorated.add((call.func.value.id, given[0] if given else node.name))
    named = {key: path for key, path in site.registered().items() if '.testing.' not in path}
    assert set(named) == decorated
    table = site.names_page()
    assert all(f'[`{name}`][{path}] | {kind} |' in table for (kind, name), path in named.items())


@pytest.mark.parametrize(
    ('link', 'expected'),
    [
        ('[x](configs/mini/README.md)', '[x](configs/mini/README.md)'),
        ('[x](docs/concepts.md#ports)', '[x](concepts.md#ports)'),
        ('[x](configs/mini/xlearner_r18_expansion.py)', 'x'),
        ('[`S`](xlearner_mm/sources.py)', '[`S`](api/xlearner_mm.md#xlearner_mm.sources)'),
        ('![x](docs/figures/port.png)', '![x](figures/port.png)'),
        ('[x](https://arxiv.org/abs/2203.08764)', '[x](https://arxiv.org/abs/2203.08764)'),
        ('```python\nf[0](x)\n```', '```python\nf[0](x)\n```'),
    ],
)
def test_links_between_files_become_links_between_pages(site, link, expected):
    assert site.relink(link, 'README.md', 'index.md') == expected


def test_a_link_from_a_folder_is_relative_to_its_page(site):
    page = 'configs/mini/README.md'
    assert site.relink('[x](../../docs/concepts.md)', page, page) == '[x](../../concepts.md)'


def test_a_broken_link_is_an_error(site):
    with pytest.raises(ValueError, match=r'README.md: .*docs/nothing.md'):
        site.relink('[x](docs/nothing.md)', 'README.md', 'index.md')


def test_pages_that_the_navigation_names_exist(site):
    def pages_in(nav):
        if isinstance(nav, str):
            yield nav
        else:
            for entry in nav.values() if isinstance(nav, dict) else nav:
                yield from pages_in(entry)

    copied = set(site.file_pages().values())
    named = set(pages_in(yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav']))
    assert named - copied == {'settings/names.md', 'settings/tools.md', 'api/*'}
    assert copied <= named, 'every page is in the navigation'


@pytest.mark.parametrize('script', ['topologies', 'batches', 'port', 'two_stages'])
def test_the_figures_are_drawn_by_their_scripts(script, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'docs/figures'))
    figure = importlib.import_module(script)
    assert (ROOT / f'docs/figures/{script}.png').is_file()
    figure.main(tmp_path / 'figure.png')
    assert (tmp_path / 'figure.png').stat().st_size > 10_000
    sys.modules.pop(script)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv('NO_MKDOCS_2_WARNING', '1')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--site-dir', str(tmp_path / 'site')]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text() for path in (tmp_path / 'site').rglob('*.html')}

    text = html.unescape(''.join(pages.values()))
    for module in public_modules():
        assert f'id="{module}"' in text, module
    assert ':class:`' not in text, 'cross-references are resolved'
    for path, content in pages.items():
        # Anchors may lead out; what a page needs to be shown may not.
        needed = re.findall(r'<(?:script|img|iframe)[^>]*src="([^"]*)"|<link rel="stylesheet" href="([^"]*)"', content)
        assert needed, path
        assert not [one for pair in needed for one in pair if one.startswith(('http', '//'))], path
