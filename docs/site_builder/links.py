"""Links that work in the repository and on the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

LINK = re.compile(r'(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)')
FENCE = re.compile(r'^ *(```|~~~)')


class SitePages:
    """Where files of the repository are on the site.

    Args:
        root: of the repository.
        copied: file -> page, of files outside of ``docs/``.
        api_folder: where the packages' pages are.
    """

    def __init__(self, root: Path, copied: Mapping[str, str], api_folder: str) -> None:
        self.root, self.copied, self.api_folder = root, copied, api_folder

    def relink(self, markdown: str, source: str, page: str) -> str:
        """Rewrite links that are relative to a file of the repository; what is not on the site loses its link.

        Args:
            markdown: the page.
            source: the file that it was written in.
            page: where it is on the site.

        Raises:
            ValueError: a link to a file that does not exist.
        """
        lines, fenced = [], False
        for line in markdown.split('\n'):
            fenced ^= bool(FENCE.match(line))
            lines.append(line if fenced else LINK.sub(lambda link: self._relinked(link, source, page), line))
        return '\n'.join(lines)

    def _relinked(self, link: re.Match[str], source: str, page: str) -> str:
        path, _, anchor = link['target'].partition('#')
        if not path or re.match(r'[a-z]+:', path):
            return link[0]
        if source.startswith('docs/settings/'):
            return link[0]  # made for the site
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (self.root / target).exists():
            raise ValueError(f'{source}: the link to {link["target"]} leads nowhere')
        found = self.page_of(target)
        if found is None:
            return link['text']
        found_page, own_anchor = found
        relative = posixpath.relpath(found_page, posixpath.dirname(page) or '.')
        anchor = anchor or own_anchor
        return f'{link["image"]}[{link["text"]}]({relative}{"#" + anchor if anchor else ""})'

    def page_of(self, target: str) -> tuple[str, str] | None:
        """Return page and anchor of a file of the repository; None when the site does not show it."""
        if target in self.copied:
            return self.copied[target], ''
        path = PurePosixPath(target)
        if f'{target}/README.md' in self.copied:
            return self.copied[f'{target}/README.md'], ''
        if path.parts[0] == 'docs' and path.suffix in ('.md', '.png'):
            return path.relative_to('docs').as_posix(), ''
        if path.parts[0] == 'xlearner_mm' and (path.suffix == '.py' or (self.root / path / '__init__.py').exists()):
            module = path.with_suffix('').as_posix().replace('/', '.').removesuffix('.__init__')
            package = module if (self.root / path).is_dir() or path.name == '__init__.py' else module.rpartition('.')[0]
            return f'{self.api_folder}/{package}.md', module
        return None
