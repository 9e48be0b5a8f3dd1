"""The pages' tables of results: each is one of a report, and can be filled in again."""

import importlib.util

import pytest

from xlearner_mm.report.report import update_report
from xlearner_mm.report.rows import Budget, make_row, make_score

from .pages import ROOT


@pytest.fixture(scope='module')
def tables():
    spec = importlib.util.spec_from_file_location('tables', ROOT / 'docs' / 'tables.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path):
    """A folder with a report of one method beside a row of the slides."""
    row = make_row('xlearner', {'cars': make_score('cls', 'accuracy/top1', 40.0)}, budget=Budget(900, 6.5))
    update_report(tmp_path / 'work_dirs' / 'mini', [row], ['X-Learner'])
    return tmp_path


def test_a_table_is_replaced_by_the_reports_and_everything_around_it_stays(tables, root):
    page = 'before\n\n<!-- table: work_dirs/mini summary -->\n\n| old |\n\n<!-- end of table -->\n\nafter\n'
    filled = tables.filled(page, root)
    assert filled.startswith('before\n\n<!-- table: work_dirs/mini summary -->\n\n| method | AVG Cls |')
    assert '| xlearner | 40.0 | - | - | - | - | 900 | 6.50 | - |' in filled
    assert 'old' not in filled
    assert 'X-Learner (paper)' not in filled
    assert filled.endswith('<!-- end of table -->\n\nafter\n')
    assert tables.filled(filled, root) == filled


@pytest.mark.parametrize('table', ['work_dirs/demo summary', 'work_dirs/mini losses'])
def test_missing_files_are_named(tables, root, table):
    with pytest.raises(SystemExit, match=table.split()[0] if 'demo' in table else 'losses'):
        tables.filled(f'<!-- table: {table} -->\n<!-- end of table -->', root)


def test_every_result_of_the_demo_and_of_the_variants_is_such_a_table(tables):
    found = {
        page.name: [(folder, kind) for _, folder, kind, _ in tables.TABLE.findall(page.read_text())]
        for page in tables.PAGES
    }
    assert found == {
        'demo.md': [('work_dirs/demo', kind) for kind in ('summary', 'transfer', 'sources')],
        'variants.md': [('work_dirs/mini', kind) for kind in ('summary', 'transfer', 'sources')],
    }
