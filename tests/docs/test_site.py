"""The documentation as a site: what is on it, and that it is built without a warning and viewed without a network."""

import html
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import xlearner_mm
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_sources  # noqa: F401 - registers what tests use

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / 'xlearner_mm'


@pytest.fixture
def builder(monkeypatch):
    """Import a module of the site's builder, as MkDocs does."""
    monkeypatch.syspath_prepend(str(ROOT / 'docs/site_builder'))
    yield lambda name: importlib.import_module(name)
    for path in (ROOT / 'docs/site_builder').glob('*.py'):
        sys.modules.pop(path.stem, None)


def public_modules():
    for path in PACKAGE.rglob('*.py'):
        parts = path.relative_to(ROOT).with_suffix('').parts
        if '.mim' not in parts and not any(part.startswith('_') for part in parts):
            yield '.'.join(parts)


def test_every_public_module_is_on_a_page(builder):
    shown = [module for modules in builder('api_pages').packages(PACKAGE).values() for module in modules]
    assert sorted(shown) == sorted(public_modules())


def test_every_registered_name_is_on_the_page_of_names_and_no_other(builder):
    from mmengine import registry

    named = {(one.kind, one.name): one.path for one in builder('api_pages').all_registered(PACKAGE)}
    registries = {kind: getattr(registry, kind) for kind in builder('api_pages').KINDS}
    ours = {
        (kind, name): f'{found.__module__}.{found.__name__}'
        for kind, of_kind in registries.items()
        for name, found in of_kind.module_dict.items()
        if found.__module__.startswith('xlearner_mm.') and '.testing.' not in found.__module__
    }
    assert named == ours
    assert MODELS.get('XLearnerResNet') is not None
    assert xlearner_mm.__version__


def test_settings_within_are_where_the_page_says(builder):
    for path in builder('api_pages').SETTINGS_WITHIN.values():
        module, _, name = path.rpartition('.')
        assert importlib.import_module(module).__dict__[name].__doc__


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
def test_links_between_files_become_links_between_pages(builder, link, expected):
    pages = builder('links').SitePages(ROOT, {'configs/mini/README.md': 'configs/mini/README.md'}, 'api')
    assert pages.relink(link, 'README.md', 'index.md') == expected


def test_a_link_from_a_folder_is_relative_to_its_page(builder):
    pages = builder('links').SitePages(ROOT, {}, 'api')
    assert pages.relink('[x](../../docs/concepts.md)', 'configs/mini/README.md', 'configs/mini/README.md') == (
        '[x](../../concepts.md)'
    )


def test_a_link_that_leads_nowhere_is_an_error(builder):
    with pytest.raises(ValueError, match=r'README.md: the link to docs/nothing.md leads nowhere'):
        builder('links').SitePages(ROOT, {}, 'api').relink('[x](docs/nothing.md)', 'README.md', 'index.md')


def test_pages_that_the_navigation_names_exist(builder):
    copied = set(builder('hooks').copied_pages().values())
    nav = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav']
    for page in builder('hooks')._pages_in(nav):
        assert page in copied or page.startswith('settings/') or (ROOT / 'docs' / page).is_file(), page


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
