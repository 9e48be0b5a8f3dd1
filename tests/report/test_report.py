"""A report out of work directories, as a comparison leaves them."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from xlearner_mm.report.figure import Boxes, Prediction, Predictions, grouped
from xlearner_mm.report.paper import paper_rows
from xlearner_mm.report.report import Report
from xlearner_mm.report.results import ResultError, read_results, read_upstream
from xlearner_mm.report.rows import Budget, RowProtocol, SourceScore, make_row, make_score
from xlearner_mm.report.tables import rows_as_csv
from xlearner_mm.typed_json import to_json

SOURCES = {'coco': {'primary_metric': 'coco/bbox_mAP_50', 'primary_scale': 100}}


def write_run(folder, metrics):
    data = folder / '20260101_000000' / 'vis_data'
    data.mkdir(parents=True)
    steps = [{'lr': 1.0, 'loss': 3.0 / n, 'coco.loss_cls': 3.0 / n, 'step': n} for n in (1, 2, 3)]
    (data / 'scalars.json').write_text('\n'.join(json.dumps(line) for line in [*steps, {**metrics, 'step': 0}]))


@pytest.fixture
def rows(tmp_path):
    write_run(tmp_path / 'squeeze', {'coco/coco/bbox_mAP_50': 0.25})
    transfer = {
        'cars': make_score('cls', 'accuracy/top1', 40.0),
        'dtd': make_score('cls', 'accuracy/top1', 20.0),
        'voc': make_score('det', 'pascal_voc/AP50', 12.5),
        'nyu': make_score('depth', 'd1', 50.0),
    }
    own = read_upstream(tmp_path / 'squeeze', SOURCES)
    return [
        make_row('scratch', transfer, params_m=0.0015, seconds=2.0),
        make_row('xlearner', transfer, upstream=own, params_m=0.0015, seconds=12.5),
    ]


def test_a_random_start_has_no_upstream(rows):
    assert rows[0].upstream == {}


def test_measured_fidelity_is_shown_for_every_source(tmp_path):
    metrics = {
        'coco/coco/bbox_mAP_50': 0.25,
        'cars/accuracy/top1': 60.0,
        'coco/fidelity': 81.236,
        'sources/fidelity': 9,
    }
    write_run(tmp_path, metrics)
    assert read_upstream(tmp_path, {**SOURCES, 'cars': {'primary_metric': 'accuracy/top1'}}) == {
        'coco': SourceScore('coco/bbox_mAP_50', 25.0, 81.24),
        'cars': SourceScore('accuracy/top1', 60.0),
    }


def test_no_detections_count_as_0_and_a_missing_validation_is_an_error(tmp_path):
    write_run(tmp_path, {'cars/accuracy/top1': 60.0, 'coco/fidelity': 0.0, 'sources/mean': 30.0})
    validated = {'coco': {**SOURCES['coco'], 'val_evaluator': {'type': 'CocoMetric'}}}
    assert read_upstream(tmp_path, validated) == {'coco': SourceScore('coco/bbox_mAP_50', 0, 0)}
    with pytest.raises(ResultError, match="no metric 'coco/coco/bbox_mAP_50'"):
        read_upstream(tmp_path, SOURCES)


def test_losses_of_a_source_and_of_a_branch_are_summed():
    curves = {
        'loss': [(1, 9.0)],
        'coco.loss_cls': [(1, 2.0)],
        'coco.loss_bbox': [(1, 1.0)],
        'loss_det_0': [(1, 3.0)],
        'loss_det_1': [(1, 4.0)],
    }
    assert grouped(curves) == {'coco': [(1, 3.0)], 'det': [(1, 7.0)]}


class TestFiles:
    @pytest.fixture
    def report(self, rows, tmp_path):
        image = np.zeros((64, 64, 3), np.uint8)
        boxes = Boxes(np.array([[5, 5, 30, 40]]), np.array([1]))
        labels = np.full((64, 64), 255)
        labels[:32] = 1
        none = Boxes(np.zeros((0, 4)), np.zeros(0, int))
        return Report(
            rows,
            upstream={'xlearner': rows[1].upstream},
            trainings={'squeeze': read_results(tmp_path / 'squeeze')},
            predictions={
                'detector': Predictions(('cat', 'dog'), [Prediction(image, boxes, none)] * 2),
                'segmentor': Predictions(('background', 'dog'), [Prediction(image, labels, labels)]),
            },
            chance={'cars': 10.0},
        )

    def test_json_holds_the_rows_and_additional_table_data(self, report, tmp_path):
        report.write(tmp_path / 'out')
        written = json.loads((tmp_path / 'out' / 'report.json').read_text())
        assert written == to_json({'rows': report.rows, 'upstream': report.upstream, 'chance': {'cars': 10.0}})

    def test_markdown_has_a_line_for_every_method_set_and_source(self, report):
        text = report.to_markdown()
        assert '| xlearner | 30.0 | 12.5 | - | 50.0 | 0.00 | 12 s |' in text
        assert '| voc | det | AP50 | 12.5 | 12.5 |' in text
        assert '| coco | coco/bbox_mAP_50 | 25.0 |' in text

    def test_the_picture_is_drawn(self, report, tmp_path):
        report.write(tmp_path / 'out')
        picture = np.asarray(Image.open(tmp_path / 'out' / 'report.png').convert('RGB'))
        assert picture.shape[1] > 1000
        assert picture.std() > 10

    def test_a_report_of_rows_alone_is_drawn_too(self, rows, tmp_path):
        Report(rows).write(tmp_path / 'out')
        assert (tmp_path / 'out' / 'report.png').stat().st_size > 5000

    def test_nothing_half_written_is_left(self, report, tmp_path):
        written = report.write(tmp_path / 'out')
        assert sorted(tmp_path.joinpath('out').iterdir()) == sorted(written)

    def test_missing_values_are_dashes_and_fidelity_has_a_column(self, rows):
        transfer = {'cars': make_score('cls', 'accuracy/top1', [70.0, 74.0]), 'dtd': make_score('cls', 'x', [])}
        upstream = {'coco': SourceScore('coco/bbox_mAP_50', 20.0, 80.0)}
        protocol = RowProtocol(frozen=True, seeds=2)
        text = Report([*rows, make_row('more', transfer, upstream=upstream, protocol=protocol)]).to_markdown()
        assert '| more | - | - | - | - | 80.0 | - | - | frozen, 2 seeds |' in text
        assert '| cars | cls | top-1 | 40.0 | 40.0 | 72.0 ± 2.8 |' in text
        assert '| voc | det | AP50 | 12.5 | 12.5 | - |' in text
        assert '| coco | coco/bbox_mAP_50 | 25.0 | 20.0 (80%) |' in text
        assert 'Rows of different protocols do not compare' in text

    def test_the_budget_of_the_training_has_columns_where_a_row_knows_it(self, rows):
        row = make_row('more', rows[0].transfer, budget=Budget(900, 6.5021), seconds=9.0)
        report = Report([*rows, row])
        text = report.to_markdown()
        assert 'params (M) | steps | train TFLOPs | time |' in text
        assert '| more | 30.0 | 12.5 | - | 50.0 | - | 900 | 6.50 | 9 s |' in text
        assert '| scratch | 30.0 | 12.5 | - | 50.0 | 0.00 | - | - | 2 s |' in text
        assert 'a multiply-add being two' in text
        assert [line['steps'] for line in csv.DictReader(io.StringIO(rows_as_csv(report.rows)))] == ['', '', '900']
        assert 'steps' not in Report(rows).to_markdown()

    def test_values_of_two_metrics_of_a_source_do_not_share_a_line(self, rows):
        rows[0].upstream['coco'] = SourceScore('coco/bbox_mAP', 9.0)
        text = Report(rows).to_markdown()
        assert '| coco | coco/bbox_mAP | 9.0 | - |' in text
        assert '| coco | coco/bbox_mAP_50 | - | 25.0 |' in text

    def test_the_papers_rows_are_marked_and_never_the_best(self, rows):
        rows = [rows[0], replace(rows[1], summary={**rows[1].summary, 'det_ap50': 20.0}), *paper_rows(['X-Learner'])]
        text = Report(rows).to_markdown()
        assert r'| *X-Learner (paper)* | 77.1 | 84.4 | 77.1\* | - | - | - |' in text
        assert '| xlearner | 30.0 | **20.0** |' in text
        assert 'not measured here' in text

    def test_the_terminal_shows_whole_words_on_80_columns(self, report):
        out = io.StringIO()
        report.show(Console(file=out, width=80))
        assert '…' not in out.getvalue()
        assert 'xlearner' in out.getvalue()
