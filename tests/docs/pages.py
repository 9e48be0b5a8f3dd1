"""The pages of the documentation, and the code blocks in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
OF_ROOT = [ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md')]
PAGES = [*OF_ROOT, *sorted((ROOT / 'docs').glob('*.md')), *sorted((ROOT / 'configs').rglob('README.md'))]
BLOCK = re.compile(r'^```(?P<language>\w*)(?: title="(?P<title>[^"]*)")?\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    language: str
    title: str | None
    text: str

    def __str__(self) -> str:
        return f'{self.page.relative_to(ROOT)}: {self.title or self.text.splitlines()[0]}'


def blocks(language: str, page: str | None = None) -> list[Block]:
    """Return the blocks of one language, of all pages or of one of ``docs/``."""
    pages = PAGES if page is None else [ROOT / 'docs' / page]
    return [
        Block(path, *match.group('language', 'title', 'text'))
        for path in pages
        for match in BLOCK.finditer(path.read_text())
        if match['language'] == language
    ]


def write_files(page: str, folder: Path) -> None:
    """Write the titled blocks of a page to the paths that their titles name."""
    for block in blocks('python', page):
        if block.title is not None:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)


def commands() -> list[tuple[Path, str]]:
    """Return (page, command) of all shell blocks, one logical line each."""
    found = []
    for block in blocks('shell'):
        lines = block.text.replace('\\\n', ' ').splitlines()
        found += [(block.page, re.sub(r'\s+#(?!SBATCH).*', '', line).strip()) for line in lines if line.strip()]
    return found
