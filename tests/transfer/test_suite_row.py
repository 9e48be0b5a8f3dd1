"""A row of what transfers have left: the sets' own metrics, in percent."""

from pathlib import Path

import pytest

from xlearner_mm.report.results import ResultError
from xlearner_mm.report.rows import Backbone
from xlearner_mm.tasks import METRICS
from xlearner_mm.transfer.protocol import Protocol, TransferSet
from xlearner_mm.transfer.rows import SetResult, suite_row, write_result

VOC = TransferSet('voc', 'det', Path('det_voc.py'), METRICS['pascal_voc/AP50'])
COCO = TransferSet('coco', 'det', Path('det_coco.py'), METRICS['coco/bbox_mAP'], extra=True)


@pytest.fixture
def row(tmp_path):
    """Returns what makes the row of one set and its metrics."""

    def make(entry, **metrics):
        write_result(entry.folder(tmp_path / 'mine', 0), SetResult(metrics, 'mine.pth', 'a', 1_000_000, 2_000_000_000))
        return suite_row('mine', tmp_path, [entry], Protocol(), Backbone('mine.pth', 'a'))

    return make


def test_a_set_is_judged_in_percent(row):
    assert row(VOC, **{'pascal_voc/AP50': 0.25, 'pascal_voc/mAP': 0.5}).summary['det_ap50'] == 25


def test_the_backbones_size_is_in_millions_and_billions(row):
    made = row(VOC, **{'pascal_voc/AP50': 0.25})
    assert (made.params_m, made.flops_g) == (1, 2)


def test_a_detector_that_detects_nothing_has_0_and_does_not_lose_the_row(row):
    """mmdet's CocoMetric has no results then."""
    assert row(COCO, data_time=0.1, time=0.2).transfer['coco'].value == 0


def test_a_metric_that_the_config_does_not_measure_is_an_error(row):
    with pytest.raises(ResultError, match="to 'voc' has no metric 'pascal_voc/AP50', but"):
        row(VOC, **{'pascal_voc/mAP': 0.5})


@pytest.mark.parametrize(
    ('content', 'reason'), [('{"metrics": ', 'Expecting value'), ('{}', "no 'metrics'"), ('[1]', 'expected an object')]
)
def test_a_damaged_result_is_named_in_one_line(tmp_path, content, reason):
    path = VOC.folder(tmp_path / 'mine', 0) / 'result.json'
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(ResultError, match=rf'result\.json.*{reason}.*delete it') as error:
        suite_row('mine', tmp_path, [VOC], Protocol(), Backbone('mine.pth', 'a'))
    assert '\n' not in str(error.value)
