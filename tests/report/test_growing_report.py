"""A report to which every further checkpoint adds its row."""

import csv
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import pytest

from xlearner_mm.errors import ConfigError
from xlearner_mm.report.columns import PAPER_TITLES
from xlearner_mm.report.figure import panel_lines
from xlearner_mm.report.paper import paper_rows
from xlearner_mm.report.report import REPORT_FILES, read_report, update_report
from xlearner_mm.report.results import ResultError
from xlearner_mm.report.rows import RowProtocol, SourceScore, make_row, make_score


def row(name, value, **protocol):
    return make_row(
        name, {'a': make_score('cls', 'accuracy/top1', value)}, params_m=1.0, protocol=RowProtocol(**protocol)
    )


def methods(folder):
    return [entry['method'] for entry in json.loads((folder / 'report.json').read_text())['rows']]


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves the picture out, which takes most of the time."""
    monkeypatch.setattr('xlearner_mm.report.figure.save_figure', lambda *_: None)


def test_the_first_row_makes_the_four_files(tmp_path):
    update_report(tmp_path / 'new' / 'folder', [row('x', 10.0)])
    assert {path.name for path in (tmp_path / 'new' / 'folder').glob('[!.]*')} == set(REPORT_FILES)


@pytest.mark.usefixtures('undrawn')
class TestRows:
    def test_a_second_call_adds_a_row(self, tmp_path):
        update_report(tmp_path, [row('x', 10.0)])
        update_report(tmp_path, [row('y', 20.0)])
        assert methods(tmp_path) == ['x', 'y']
        assert '| y | **20.0** |' in (tmp_path / 'report.md').read_text()

    def test_the_same_name_replaces_its_row_in_its_place(self, tmp_path):
        update_report(tmp_path, [row('x', 10.0), row('y', 20.0)])
        report = update_report(tmp_path, [row('x', 30.0)])
        assert [(entry.method, entry.summary['avg_cls']) for entry in report.rows] == [('x', 30.0), ('y', 20.0)]

    def test_the_same_name_under_another_protocol_is_another_row(self, tmp_path):
        update_report(tmp_path, [row('x', 10.0, data_fraction=1.0)])
        update_report(tmp_path, [row('x', 5.0, data_fraction=0.1)])
        assert methods(tmp_path) == ['x', 'x']
        assert 'do not compare' in (tmp_path / 'report.md').read_text()

    def test_the_papers_rows_stay_until_removed(self, tmp_path):
        update_report(tmp_path, [row('x', 10.0)], paper=['SimCLR'])
        update_report(tmp_path, [row('y', 20.0)])
        assert methods(tmp_path) == ['SimCLR (paper)', 'x', 'y']
        update_report(tmp_path, [], paper=['X-Learner'])
        assert methods(tmp_path) == ['X-Learner (paper)', 'x', 'y']
        update_report(tmp_path, [], paper=[])
        assert methods(tmp_path) == ['x', 'y']

    def test_a_measured_row_does_not_replace_a_paper_row_of_the_same_name(self, tmp_path):
        update_report(tmp_path, [row('SimCLR (paper)', 10.0)], paper=['SimCLR'])
        assert methods(tmp_path) == ['SimCLR (paper)'] * 2

    def test_further_networks_and_chance_level_are_kept(self, tmp_path):
        expanded = {'expanded': {'coco': SourceScore('m', 40.0)}}
        update_report(tmp_path, [row('x', 10.0)], upstream=expanded, chance={'a': 5.0})
        report = update_report(tmp_path, [row('y', 20.0)])
        assert (report.upstream, report.chance) == (expanded, {'a': 5.0})
        assert '| coco | m | 40.0 |' in (tmp_path / 'report.md').read_text()

    def test_the_csv_has_a_line_per_row_and_every_number(self, tmp_path):
        update_report(tmp_path, [row('x', [10.0, 20.0], seeds=2)], paper=['X-Learner'])
        with (tmp_path / 'report.csv').open() as file:
            paper, ours = csv.DictReader(file)
        assert (paper['source'], paper['AVG Cls'], paper['mIoU'], paper['a']) == ('paper', '77.1', '77.1', '')
        assert (ours['source'], ours['AVG Cls'], ours['AVG Cls_std'], ours['a_std']) == (
            'measured',
            '15.0',
            '7.07',
            '7.07',
        )
        assert ours['protocol'] == '2 seeds'


@pytest.mark.usefixtures('undrawn')
class TestTheSlidesColumns:
    """A report of the paper's suite has the slides' columns, each with its metric, and their rows under them."""

    TITLES = ('AVG Cls', 'CIFAR-100 (top-1)', 'PASCAL Det (AP50)', 'PASCAL Seg (mIoU)', 'NYU-Depth V2 (delta1)')

    @pytest.fixture
    def folder(self, tmp_path):
        transfer = {'cifar100': make_score('cls', 'accuracy/top1', 60.0), 'a': make_score('cls', 'x', 40.0)}
        update_report(tmp_path, [make_row('x', transfer)], titles=PAPER_TITLES)
        update_report(tmp_path, [], paper=['X-Learner R152 w/ seg'])
        return tmp_path

    def test_markdown(self, folder):
        text = (folder / 'report.md').read_text()
        assert f'| method | {" | ".join(self.TITLES)} |' in text, 'a call that says nothing of the columns keeps them'
        assert r'| *X-Learner R152 w/ seg (paper)* | - | 89.7 | 88.6 | 82.6 | 91.3\* |' in text
        assert '| x | 50.0 | 60.0 | - | - | - |' in text

    def test_csv(self, folder):
        with (folder / 'report.csv').open() as file:
            lines = list(csv.DictReader(file))
        assert [[line[title] for title in self.TITLES] for line in lines] == [
            ['', '89.7', '88.6', '82.6', '91.3'],
            ['50.0', '60.0', '', '', ''],
        ]
        assert 'cifar100' not in lines[0], 'every number stands once'

    def test_json_says_which_key_is_which_column(self, folder):
        content = json.loads((folder / 'report.json').read_text())
        assert tuple(content['titles'].values()) == self.TITLES
        assert content['rows'][0]['summary']['depth_delta1'] == 91.3
        assert read_report(folder).titles == PAPER_TITLES

    def test_the_picture(self, folder):
        first, *_ = panel_lines(read_report(folder).rows, PAPER_TITLES)
        assert [panel.subtitle for panel in first] == ['AVG Cls, 2 sets', *self.TITLES[2:]]


class TestErrors:
    def test_an_unknown_paper_row_does_not_change_the_report(self, tmp_path):
        with pytest.raises(ConfigError, match="no row 'MAE', but .*'SimCLR'"):
            update_report(tmp_path, [row('x', 10.0)], paper=['MAE'])
        assert not (tmp_path / 'report.json').exists()

    @pytest.mark.parametrize('content', ['', '[]', '{"rows": [{}]}', '{"rows": 3}', '{"rows": [], "more": 1}'])
    def test_an_unrelated_file_is_not_overwritten(self, tmp_path, content):
        (tmp_path / 'report.json').write_text(content)
        with pytest.raises(ResultError, match=r'report.json .*not a report: .*move it'):
            update_report(tmp_path, [row('x', 10.0)])
        assert (tmp_path / 'report.json').read_text() == content


def test_reports_are_read_back_as_written(tmp_path):
    rows = [*paper_rows(), row('x', [10.0, 20.0], frozen=True)]
    written = update_report(tmp_path, [rows[-1]], paper=[entry.method.removesuffix(' (paper)') for entry in rows[:-1]])
    assert read_report(tmp_path).rows == written.rows == rows


def add(folder, number):
    update_report(folder, [row(f'method {number}', float(number))])


@pytest.mark.usefixtures('undrawn')
def test_processes_that_write_at_once_lose_no_row(tmp_path):
    with ProcessPoolExecutor(4, mp_context=get_context('fork')) as pool:
        list(pool.map(partial(add, tmp_path), range(8)))
    assert sorted(methods(tmp_path)) == [f'method {number}' for number in range(8)]
    assert (tmp_path / 'report.csv').read_text().count('\n') == 9
