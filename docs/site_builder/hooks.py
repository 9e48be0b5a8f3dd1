"""What MkDocs calls while it builds the site: pages that are made of other files, and links between all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from api_pages import names_page, package_page, packages
from links import SitePages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from tools_page import tools_page

ROOT = Path(__file__).resolve().parents[2]
API_FOLDER = 'settings/api'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add to the navigation the packages' pages, and pages of ``docs/`` that the file does not name: results."""
    pages = [{package: f'{API_FOLDER}/{package}.md'} for package in packages(ROOT / 'xlearner_mm')]
    _section(config, 'Every setting').append({'Packages': pages})
    written = {path.name for path in (ROOT / 'docs').glob('*.md')}
    _section(config, 'Results').extend(sorted(written - set(_pages_in(config.nav))))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of ``docs/``."""
    for source, page in copied_pages().items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    generated = {'settings/names.md': names_page(ROOT / 'xlearner_mm'), 'settings/tools.md': tools_page(ROOT / 'tools')}
    for package, modules in packages(ROOT / 'xlearner_mm').items():
        generated[f'{API_FOLDER}/{package}.md'] = package_page(package, modules)
    for page, content in generated.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    sources = {site: source for source, site in copied_pages().items()}
    uri = page.file.src_uri
    source = sources.get(uri, f'docs/{uri}')
    try:
        return SitePages(ROOT, copied_pages(), API_FOLDER).relink(markdown, source, uri)
    except ValueError as error:
        raise PluginError(str(error)) from None


def copied_pages() -> dict[str, str]:
    """File of the repository -> the page that shows it."""
    readmes = sorted((ROOT / 'configs').rglob('README.md'))
    configs = {path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix() for path in readmes}
    return {'README.md': 'index.md', 'CHANGELOG.md': 'changelog.md', **configs}


def _section(config: MkDocsConfig, title: str) -> list:
    return next(entry[title] for entry in config.nav if title in entry)


def _pages_in(nav: list | dict | str) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _pages_in(entry)
