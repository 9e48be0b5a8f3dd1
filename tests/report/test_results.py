import json

import pytest

from xlearner_mm.report.results import ResultError, read_results


@pytest.fixture
def log(tmp_path):
    """Returns what writes the log of one run as MMEngine does."""

    def write(run, *records, cut=''):
        folder = tmp_path / run / 'vis_data'
        folder.mkdir(parents=True)
        (folder / 'scalars.json').write_text(''.join(json.dumps(record) + '\n' for record in records) + cut)
        return tmp_path

    return write


def step(number, loss, **more):
    return {'lr': 0.1, 'loss': loss, **more, 'iter': number, 'step': number}


def test_curves_are_by_key_and_step(log):
    folder = log('20260101_000000', step(10, 3.0, **{'coco.loss_cls': 2.0}), step(20, 2.0, **{'coco.loss_cls': 1.0}))
    assert read_results(folder).losses() == {'loss': [(10, 3.0), (20, 2.0)], 'coco.loss_cls': [(10, 2.0), (20, 1.0)]}


def test_a_resumed_run_replaces_the_steps_it_has_repeated(log):
    log('20260101_000000', step(10, 3.0), step(20, 2.0), step(30, 9.0))
    folder = log('20260101_000500', step(30, 1.0), step(40, 0.5))
    assert read_results(folder).curves['loss'] == [(10, 3.0), (20, 2.0), (30, 1.0), (40, 0.5)]


def test_the_last_validation_counts(log):
    log('20260101_000000', step(10, 3.0), {'accuracy/top1': 10.0, 'step': 0})
    folder = log('20260101_000500', step(20, 2.0), {'accuracy/top1': 30.0, 'step': 0})
    assert read_results(folder).metrics() == {'accuracy/top1': 30.0}


def test_metrics_are_scaled(log):
    folder = log('20260101_000000', {'pascal_voc/AP50': 0.25, 'step': 0})
    assert read_results(folder).metric('pascal_voc/AP50', 100) == 25


def test_a_truncated_line_is_skipped(log):
    folder = log('20260101_000000', step(10, 3.0), cut='{"lr": 0.1, "lo')
    assert read_results(folder).curves['loss'] == [(10, 3.0)]


def test_an_unknown_metric_is_an_error_with_the_known_ones(log):
    folder = log('20260101_000000', {'mIoU': 25.0, 'step': 0})
    with pytest.raises(ResultError, match=r"no metric 'AP50', but \['mIoU'\]"):
        read_results(folder).metric('AP50')


def test_a_training_without_validation_is_an_error(log):
    folder = log('20260101_000000', step(10, 3.0))
    with pytest.raises(ResultError, match='no validation metrics'):
        read_results(folder).metrics()


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(ResultError, match='no training.*logged'):
        read_results(tmp_path)


def test_metrics_have_curves_over_the_training_steps(log):
    log(
        '20260101_000000',
        step(10, 3.0),
        {'accuracy/top1': 10.0, 'step': 10},
        step(20, 2.0),
        {'accuracy/top1': 20.0, 'step': 20},
    )
    folder = log(
        '20260101_000500',
        step(20, 2.0),
        {'accuracy/top1': 25.0, 'step': 20},
        step(30, 2.0),
        {'loss/top1': 1.0, 'step': 30},
    )
    assert read_results(folder).validation_curves() == {
        'accuracy/top1': [(10, 10.0), (20, 25.0)],
        'loss/top1': [(30, 1.0)],
    }


def test_validations_that_were_logged_as_step_0_are_at_the_step_before_them(log):
    folder = log('20260101_000000', step(10, 3.0), {'mIoU': 10.0, 'step': 0}, step(20, 2.0), {'mIoU': 20.0, 'step': 0})
    assert read_results(folder).validation_curves() == {'mIoU': [(10, 10.0), (20, 20.0)]}
