"""Fill in the tables of results in README.md and docs: python docs/tables.py [studies|reports].

A table stands between two comments, of which the first says what it is of, and is replaced as a whole:

    <!-- table: work_dirs/demo summary -->
    <!-- end of table -->

It is of a report, by the folder of `tools/demo.py` or `tools/run_pipeline.py` and one of `summary`, `transfer` and
`sources`, without the rows of the slides; or of the studies' ledger: `study: mini` or `study: photo`, with the names of
some rows behind it or all of them, `study: observations`, and `study: fidelity`.
"""

import argparse
import re
from pathlib import Path

from xlearner_mm.experiments.study import LEDGER
from xlearner_mm.experiments.study_report import comparison_table, fidelity_table, observations_table, read_results
from xlearner_mm.report.report import read_report
from xlearner_mm.report.tables import Table, markdown, summary_table, transfer_table

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / 'README.md', *(ROOT / 'docs' / name for name in ('demo.md', 'variants.md', 'squeeze_trials.md')))
TABLE = re.compile(r'(<!-- (table|study): (.+?) -->\n).*?(<!-- end of table -->)', re.DOTALL)


def table_of(folder: Path, kind: str) -> Table:
    """One table of a folder's report."""
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
    return makers[kind]()


def study_table(ledger: Path, name: str, *rows: str) -> Table:
    """One table of the ledger."""
    results = read_results(ledger)
    whole = {'observations': observations_table, 'fidelity': fidelity_table}
    if name in whole:
        return whole[name](results)
    if name not in results or results[name].study.judged_by != 'transfer':
        raise SystemExit(f"unknown study '{name}': choose from mini, photo, observations and fidelity")
    return comparison_table(results[name], rows)


def filled(text: str, root: Path, kinds: tuple[str, ...] = ('table', 'study')) -> str:
    """A page with its tables of some kinds as the reports and the ledger below a folder have them."""

    def replaced(found: re.Match[str]) -> str:
        head, kind, words, end = found.groups()
        if kind not in kinds:
            return found[0]
        first, *others = words.split()
        table = table_of(root / first, *others) if kind == 'table' else study_table(root / LEDGER, first, *others)
        return f'{head}\n{markdown(table) if table.lines else "No run yet."}\n\n{end}'

    return TABLE.sub(replaced, text)


def main() -> None:
    """Fill in all pages; none where a report is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=ROOT, help='the folder that holds work_dirs and docs/study')
    parser.add_argument('kind', nargs='?', choices=('studies', 'reports'), help='of which tables; of both by default')
    args = parser.parse_args()
    kinds = {'studies': ('study',), 'reports': ('table',), None: ('table', 'study')}[args.kind]
    pages = {page: filled(page.read_text(encoding='utf-8'), args.root, kinds) for page in PAGES}
    for page, text in pages.items():
        page.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
