"""The slides' tables as data, against sums taken from the slides themselves and against each other."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from xlearner_mm.report.columns import PAPER_TITLES
from xlearner_mm.report.paper import PaperCell, paper_row_names, paper_rows, paper_tables, print_paper_tables
from xlearner_mm.report.rows import Row
from xlearner_mm.transfer.protocol import SUITES, transfer_sets
from xlearner_mm.typed_json import from_json, to_json

TABLES = paper_tables()
# Sums of the slides' numbers, without bracketed differences: by column, then by line.
COLUMN_SUMS = {
    'methods': {'AVG Cls': 454.4, 'PASCAL Det': 501.6, 'PASCAL Seg': 452.5},
    'sources': {
        **{'ImageNet': 453.8, 'iNat2021': 458.7, 'Places': 320.7, 'Cars': 393.9, 'Dogs': 343.5, 'COCO': 226.3},
        **{'Objects365': 118.4, 'FACE': 65.1, 'AVG Cls': 466.0, 'PASCAL Det': 503.0},
    },
    'settings': {},
    'reconciliation': {'AVG Cls': 151.9, 'PASCAL Det': 168.3},
    'variants': {
        **{'ImageNet': 455.8, 'iNat2021': 470.5, 'Places': 321.3, 'COCO': 241.5, 'Objects365': 129.1},
        **{'AVG Cls': 453.3, 'PASCAL Det': 503.6},
    },
    'resnet152': {'CIFAR-100': 440.0, 'PASCAL Det': 437.4, 'PASCAL Seg': 406.3, 'NYU-Depth V2': 448.8},
    'data_efficiency': {
        **{'AVG Cls': 226.4, 'CIFAR-100': 352.6, 'PASCAL Det': 430.8, 'PASCAL Seg': 549.1, 'NYU-Depth V2': 519.9}
    },
}
LINE_SUMS = {
    'methods': [231.6, 231.6, 227.4, 238.6, 239.7, 239.6],
    'sources': [413.1, 435.0, 597.0, 622.9, 626.2, 655.2],
    'settings': [0] * 7,
    'reconciliation': [158.7, 161.5],
    'variants': [413.1, 435.0, 423.8, 432.0, 434.3, 436.9],
    'resnet152': [339.8, 348.6, 342.1, 349.8, 352.2],
    'data_efficiency': [332.9, 348.6, 349.8, 155.8, 232.9, 239.3, 419.5],
}


def numbers(cells):
    return [cell.value for cell in cells if cell.value is not None]


def test_six_result_tables_and_one_of_settings():
    assert list(TABLES) == list(COLUMN_SUMS)


@pytest.mark.parametrize('name', TABLES)
def test_the_numbers_add_up_to_the_slides_sums(name):
    table = TABLES[name]
    columns = {
        title: sum(numbers(cells)) for title, cells in zip(table.header, zip(*table.lines, strict=True), strict=True)
    }
    assert {title: round(value, 1) for title, value in columns.items() if value} == COLUMN_SUMS[name]
    assert [round(sum(numbers(line)), 1) for line in table.lines] == LINE_SUMS[name]


@pytest.mark.parametrize('name', ['methods', 'resnet152'])
def test_brackets_are_differences_to_the_baseline(name):
    table = TABLES[name]
    cells = [(cell, base) for line in table.lines for cell, base in zip(line, table.lines[table.base], strict=True)]
    brackets = [(cell.delta, round(cell.value - base.value, 1)) for cell, base in cells if cell.delta is not None]
    assert len(brackets) == {'methods': 9, 'resnet152': 12}[name]
    assert all(delta == difference for delta, difference in brackets)


def test_marks_match_the_slides():
    marked = {
        (name, number, title)
        for name, table in TABLES.items()
        for number, line in enumerate(table.lines)
        for title, cell in zip(table.header, line, strict=True)
        if cell.mark
    }
    assert marked == {
        *(('methods', number, 'PASCAL Seg') for number in range(5)),
        ('resnet152', 2, 'PASCAL Seg'),
        ('resnet152', 3, 'NYU-Depth V2'),
        ('resnet152', 4, 'NYU-Depth V2'),
    }


def test_a_method_has_the_same_numbers_in_every_table_of_the_base_sources():
    def line(table, method, *columns):
        (found,) = (cells for cells in TABLES[table].lines if cells[0].text == method)
        return [found[TABLES[table].header.index(column)].value for column in columns]

    both = ('AVG Cls', 'PASCAL Det')
    for method in ('Hard-sharing', 'X-Learner', 'X-Learner++'):
        assert line('methods', method, *both) == line('variants', method, *both)
    assert line('reconciliation', 'X-Learner', *both) == line('variants', 'X-Learner', *both)
    sources = TABLES['sources']
    pretrained = ('ImageNet', 'iNat2021', 'Places', 'COCO', 'Objects365', *both)
    for number, method in enumerate(('Hard-sharing', 'X-Learner')):
        assert [sources.cell(number, column).value for column in pretrained] == line('variants', method, *pretrained)


def test_every_variant_is_defined_by_its_settings():
    assert [cell.text for cell in TABLES['settings'].lines[4]] == ['X-Learner_p', 'ResNet-50', '✓', 'P', 'x', '↗↘']
    assert TABLES['settings'].cell(2, 'Sub-Backbone').text == 'HalfResNet-50'


@pytest.mark.parametrize(
    ('text', 'cell'),
    [
        ('75.0', PaperCell('75.0', 75.0)),
        ('75.7*', PaperCell('75.7*', 75.7, '*')),
        ('78.8* (-1.8)', PaperCell('78.8* (-1.8)', 78.8, '*', -1.8)),
        ('-', PaperCell('-')),
        ('1.9M', PaperCell('1.9M')),
        ('ResNet-152', PaperCell('ResNet-152')),
    ],
)
def test_a_cell_is_taken_apart(text, cell):
    assert PaperCell.parse(text) == cell


class TestRows:
    def test_the_first_tables_methods_are_the_default(self):
        names = ['ImageNet supervised', 'SimCLR', 'Hard-sharing', 'X-Learner', 'X-Learner++', 'X-Learner w/ seg']
        assert [row.method for row in paper_rows()] == [f'{name} (paper)' for name in names]
        assert all(row.source == 'paper' for row in paper_rows())

    @pytest.mark.parametrize(
        ('name', 'values', 'marks'),
        [
            ('ImageNet supervised', (74.4, 81.5, 75.7, None), {'seg_miou': '*'}),
            ('X-Learner w/ seg', (77.7, 84.3, 77.6, None), {}),
            ('X-Learner w/o Rec.', (74.8, 83.9, None, None), {}),
            ('X-Learner_r', (73.9, 84.1, None, None), {}),
            ('X-Learner_t', (74.5, 83.5, None, None), {}),
            ('X-Learner_p', (77.2, 83.1, None, None), {}),
            ('X-Learner R152 w/ seg', (None, 88.6, 82.6, 91.3), {'depth_delta1': '*'}),
            ('MuST R152', (None, 85.1, 80.6, 87.8), {}),
            ('JFT supervised R152', (None, 84.9, 79.7, 79.7), {}),
            ('DnC 300M', (76.3, None, 76.9, 86.1), {}),
        ],
    )
    def test_a_row_has_the_values_of_its_line(self, name, values, marks):
        (row,) = paper_rows([name])
        assert tuple(row.summary[key] for key in ('avg_cls', 'det_ap50', 'seg_miou', 'depth_delta1')) == values
        assert row.marks == marks

    def test_every_name_has_a_row_that_json_can_hold(self):
        rows = paper_rows(paper_row_names())
        assert from_json(list[Row], json.loads(json.dumps(to_json(rows)))) == rows
        assert len({row.method for row in rows}) == len(rows)

    def test_cifar_100_is_a_set_of_its_own(self):
        (row,) = paper_rows(['X-Learner R152'])
        assert row.transfer['cifar100'].value == 88.7
        assert row.summary['avg_cls'] is None


class TestPrint:
    @pytest.fixture
    def printed(self):
        def render(form, *names):
            out = io.StringIO()
            print_paper_tables([TABLES[name] for name in names or TABLES], form, Console(file=out, width=40))
            return out.getvalue()

        return render

    @pytest.mark.parametrize('form', ['text', 'markdown', 'csv', 'json'])
    def test_every_cell_of_every_table_is_printed(self, printed, form):
        text = printed(form).replace(r'\*', '*')
        cells = {cell.text for table in TABLES.values() for line in table.lines for cell in line}
        assert [cell for cell in cells if cell not in text] == []

    def test_markdown(self, printed):
        assert '| X-Learner | 77.1 | 84.4 |' in printed('markdown', 'reconciliation')

    def test_csv_says_which_table(self, printed):
        lines = printed('csv', 'reconciliation').splitlines()
        assert lines == [
            'table,Method,AVG Cls,PASCAL Det',
            'reconciliation,X-Learner w/o Rec,74.8,83.9',
            'reconciliation,X-Learner,77.1,84.4',
        ]

    def test_json_has_value_mark_and_difference(self, printed):
        line = json.loads(printed('json', 'methods'))['methods']['lines'][3]
        assert line['PASCAL Seg'] == {'text': '77.1* (+1.4)', 'value': 77.1, 'mark': '*', 'delta': 1.4}


def test_the_set_that_a_row_names_is_one_of_the_suites():
    suite = {entry.name for entry in transfer_sets(Path(__file__).parents[2] / SUITES['paper'].folder)}
    assert {name for row in paper_rows(paper_row_names()) for name in row.transfer} <= suite


def test_the_papers_suite_has_the_columns_of_the_slides_tables():
    slides = [
        title for title in TABLES['data_efficiency'].header if title not in ('Method', 'Backbone', 'Amount of Data')
    ]
    assert [title.partition(' (')[0] for title in PAPER_TITLES.values()] == slides
