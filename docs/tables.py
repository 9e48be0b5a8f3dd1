"""Fill in the tables of docs/demo.md and docs/variants.md: python docs/tables.py [PAGE], after the runs that they name.

A table stands between two comments, of which the first says what it is of, and is replaced as a whole:

    <!-- table: work_dirs/mini summary -->
    <!-- end of table -->

The folder is one of `tools/demo.py` or `tools/run_pipeline.py`, the table `summary`, `transfer` or `sources`. The rows
of the slides are left out.
"""

import argparse
import re
from pathlib import Path

from xlearner_mm.report.report import read_report
from xlearner_mm.report.tables import markdown, summary_table, transfer_table

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / 'docs' / 'demo.md', ROOT / 'docs' / 'variants.md')
TABLE = re.compile(r'(<!-- table: (\S+) (\S+) -->\n).*?(<!-- end of table -->)', re.DOTALL)


def table_of(folder: Path, kind: str) -> str:
    """One table of a folder's report, in Markdown."""
    if not (folder / 'report.json').is_file():
        raise SystemExit(f'{folder}/report.json is not there: run tools/demo.py or tools/run_pipeline.py first')
    report = read_report(folder)
    rows = [row for row in report.rows if not row.is_paper]
    makers = {
        'summary': lambda: summary_table(rows),
        'transfer': lambda: transfer_table(rows),
        'sources': report.upstream_table,
    }
    if kind not in makers:
        raise SystemExit(f"unknown table '{kind}': choose from {[*makers]}")
    return markdown(makers[kind]())


def filled(text: str, root: Path) -> str:
    """A page with its tables as the reports below a folder have them."""
    return TABLE.sub(lambda found: f'{found[1]}\n{table_of(root / found[2], found[3])}\n\n{found[4]}', text)


def main() -> None:
    """Fill in all pages, or one; none where a report is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=ROOT, help='the folder that holds work_dirs')
    parser.add_argument('page', nargs='?', choices=[page.stem for page in PAGES], help='one page; all by default')
    args = parser.parse_args()
    chosen = [page for page in PAGES if args.page in (None, page.stem)]
    pages = {page: filled(page.read_text(encoding='utf-8'), args.root) for page in chosen}
    for page, text in pages.items():
        page.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
