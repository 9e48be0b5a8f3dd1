"""Print the tables of the paper's slides.

python tools/paper_tables.py --table methods --format markdown
"""

from __future__ import annotations

import argparse
import sys


def parse_args() -> argparse.Namespace:
    """Parse the command line; ``--help`` needs no heavy import."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--table', metavar='NAME', help='table to print (default: all)')
    parser.add_argument('--format', default='text', choices=('text', 'markdown', 'csv', 'json'))
    parser.add_argument('--list', action='store_true', help="print only the tables' names")
    return parser.parse_args()


def main() -> int:
    """Print; return the exit status."""
    args = parse_args()
    from xlearner_mm.report.paper import paper_tables, print_paper_tables

    tables = paper_tables()
    if args.list:
        print('\n'.join(f'{name:16} {table.observation}: {table.title}' for name, table in tables.items()))
        return 0
    if args.table not in (None, *tables):
        print(f"error: the slides have no table '{args.table}', but {', '.join(tables)}", file=sys.stderr)
        return 1
    print_paper_tables(list(tables.values()) if args.table is None else [tables[args.table]], args.format)
    return 0


if __name__ == '__main__':
    sys.exit(main())
