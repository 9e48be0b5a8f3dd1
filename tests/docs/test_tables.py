"""The pages' tables of results: each is one of a report or of the studies, and can be filled in again."""

import importlib.util

import pytest

from xlearner_mm.experiments.study import LEDGER, STUDIES, Ledger, Run
from xlearner_mm.report.report import update_report
from xlearner_mm.report.rows import SUMMARY, Budget, make_row, make_score

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


def test_a_table_of_a_study_is_the_ledgers(tables, tmp_path):
    study, ledger = STUDIES['mini'], Ledger(tmp_path / LEDGER)
    values = {'xlearner': (50.0, 52.0), 'hard_sharing': (49.0, 50.0), 'hard_sharing_seg': (70.0, 70.0)}
    for row, means in values.items():
        for seed, value in enumerate(means):
            ledger.add(Run('mini', row, seed, study.digest(row), 'c', dict.fromkeys(SUMMARY, value), 1.0, 5, 2.0))
    page = '<!-- study: mini -->\n<!-- end of table -->\n<!-- study: photo -->\n<!-- end of table -->\n'
    filled = tables.filled(page, tmp_path)
    every = '| 51.0 ± 1.4 | 51.0 ± 1.4 | 51.0 ± 1.4 | 51.0 ± 1.4 | 51.0 ± 1.4 '
    assert f'| X-Learner | 2 {every}| +1.5 [-4.9, +7.9] |  | 5 | 2.0 |' in filled, 'not to other sources'
    assert filled.count('No run yet.') == 1
    chosen = tables.filled('<!-- study: mini hard_sharing -->\n<!-- end of table -->', tmp_path)
    assert [line.split(' | ')[0] for line in chosen.splitlines()[4:-2]] == ['| Hard-sharing']
    assert tables.filled(page, tmp_path, kinds=('table',)) == page


def test_an_unknown_study_is_named(tables, tmp_path):
    with pytest.raises(SystemExit, match="'links': choose from mini, photo, observations and fidelity"):
        tables.filled('<!-- study: links -->\n<!-- end of table -->', tmp_path)


def test_pages_quote_the_ledger_as_it_is(tables):
    for page in tables.PAGES:
        text = page.read_text()
        assert '<!-- study: ' in text
        assert tables.filled(text, ROOT, kinds=('study',)) == text, f'{page.name}: run docs/tables.py studies'


def test_every_result_of_the_demo_is_such_a_table(tables):
    found = [words for _, kind, words, _ in tables.TABLE.findall((ROOT / 'docs/demo.md').read_text())]
    assert found[:3] == [f'work_dirs/demo {kind}' for kind in ('summary', 'transfer', 'sources')]
