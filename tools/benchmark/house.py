"""Print the size of the package, and the files that each walk of docs/architecture.md opens."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs/architecture.md'


def walks(page: str) -> dict[str, list[str]]:
    """Return the walks of a page: title -> paths of the package's files, in order.

    Args:
        page: text; a walk is a heading ``### Walk: <title>`` with a list of paths in backticks below it.

    Raises:
        FileNotFoundError: a walk names a file that does not exist.
    """
    found: dict[str, list[str]] = {}
    for part in page.split('### Walk: ')[1:]:
        title, _, text = part.partition('\n')
        paths = re.findall(r'^\d+\. `([\w/.]+\.py)`', text.split('\n#')[0], re.MULTILINE)
        for path in paths:
            if not (ROOT / 'xlearner_mm' / path).is_file():
                raise FileNotFoundError(f'{PAGE.name}, walk "{title}": xlearner_mm/{path} does not exist')
        found[title] = list(dict.fromkeys(paths))
    return found


def package_size() -> tuple[int, int]:
    """Return the number of files and of lines of the package."""
    files = [path for path in (ROOT / 'xlearner_mm').rglob('*.py') if '.mim' not in path.parts]
    return len(files), sum(len(path.read_text(encoding='utf-8').splitlines()) for path in files)


def main() -> None:
    """Print all of it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    files, lines = package_size()
    print(f'xlearner_mm: {files} files, {lines:,} lines')
    for title, paths in walks(PAGE.read_text(encoding='utf-8')).items():
        print(f'\n{title}: {len(paths)} files')
        print(*(f'  {path}' for path in paths), sep='\n')


if __name__ == '__main__':
    main()
