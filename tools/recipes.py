"""Print how the configs of paper scale stand to the stock recipes that they follow, as the tables of their READMEs.

python tools/recipes.py transfer
python tools/recipes.py sources
"""

import argparse
import sys
from pathlib import Path

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('table', choices=['transfer', 'sources'], help='of which configs')
    return parser.parse_args()


def main() -> int:
    """Print a table; return the exit status."""
    args = parse_args()
    import xlearner_mm  # noqa: F401  (mmseg's configs are found by name)

    if args.table == 'transfer':
        from xlearner_mm.transfer.recipes import transfer_table, transfer_trainings

        print(transfer_table(transfer_trainings(CONFIGS / 'transfer')))
    else:
        from xlearner_mm.analysis.recipes import source_table

        print(source_table(CONFIGS / '_base_'))
    return 0


if __name__ == '__main__':
    sys.exit(main())
