"""The list of columns."""

from xlearner_mm.report.columns import COLUMNS, PAPER_TITLES, columns_of
from xlearner_mm.report.rows import RowProtocol, make_row, make_score
from xlearner_mm.tasks import TASKS


def keys(*rows, **more):
    return [column.key for column in columns_of(rows, **more)]


def test_every_task_has_its_score_column_in_order():
    assert [column.key for column in COLUMNS if column.score] == [task.column for task in TASKS.values()]


def test_columns_of_unknown_numbers_are_hidden_except_for_size_and_time():
    scores = [task.column for task in TASKS.values()]
    row = make_row('x', {})
    assert keys(row) == [*scores, 'params_m', 'seconds']
    assert keys(row, make_row('y', {}, flops_g=1.5)) == [*scores, 'params_m', 'flops_g', 'seconds']
    assert keys(row, make_row('y', {}, protocol=RowProtocol(frozen=True)))[-1] == 'protocol'


def test_a_suite_has_its_own_score_columns():
    row = make_row('x', {'cifar100': make_score('cls', 'accuracy/top1', [60.0, 61.0])})
    columns = {column.title: column.text(row) for column in columns_of([row], PAPER_TITLES)}
    assert list(columns)[: len(PAPER_TITLES)] == list(PAPER_TITLES.values())
    assert columns['CIFAR-100 (top-1)'] == '60.5 ± 0.7'
