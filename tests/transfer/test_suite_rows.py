"""Rows of a suite: unique names, derived from the checkpoint's path, and values of the transfers' results."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from xlearner_mm.errors import ConfigError
from xlearner_mm.report.report import update_report
from xlearner_mm.report.results import ResultError
from xlearner_mm.report.rows import Backbone, make_row
from xlearner_mm.tasks import METRICS
from xlearner_mm.transfer.protocol import Protocol, TransferSet
from xlearner_mm.transfer.rows import (
    RANDOM_START,
    SetResult,
    claim_name,
    claim_suite,
    row_name,
    suite_row,
    write_result,
)

FIRST, SECOND = (Backbone(f'{name}/backbone.pth', digit * 64) for name, digit in (('a', '1'), ('b', '2')))
TENTH = Protocol(data_fraction=0.1)


class TestTheUsualName:
    @pytest.mark.parametrize(
        ('checkpoint', 'name'),
        [
            ('exports/simclr.pth', 'simclr'),
            ('work_dirs/demo/xlearner/backbone.pth', 'xlearner'),
            ('work_dirs/xlearner_r50/iter_200000.pth', 'xlearner_r50'),
            ('work_dirs/xlearner_r50/best_coco_bbox_mAP_iter_200.pth', 'xlearner_r50'),
            ('work_dirs/xlearner_r50', 'xlearner_r50'),
            ('work_dirs/epoch_study', 'epoch_study'),
            ('s3://bucket/xlearner_r50/iter_200000.pth', 'xlearner_r50'),
            ('torchvision://resnet50', 'resnet50'),
            ('scratch', 'scratch'),
        ],
    )
    def test_the_default_name_comes_from_the_path(self, checkpoint, name):
        assert row_name(checkpoint) == name
        assert row_name(checkpoint, 'det') == f'{name}-det', 'branches of one checkpoint are rows beside each other'

    def test_a_work_directory_with_a_dot_in_it_keeps_its_whole_name(self, tmp_path):
        (tmp_path / 'xlearner.v2').mkdir()
        assert row_name(str(tmp_path / 'xlearner.v2')) == 'xlearner.v2'


class TestClaims:
    def test_the_first_has_the_usual_name_and_keeps_it(self, tmp_path):
        assert [claim_name(tmp_path, FIRST, Protocol(), 'x') for _ in range(2)] == ['x', 'x']

    def test_names_of_other_checkpoints_contain_their_digest(self, tmp_path):
        assert claim_name(tmp_path, FIRST, TENTH, 'x') == 'x'
        assert [claim_name(tmp_path, SECOND, how, 'x') for how in (Protocol(), TENTH)] == ['x-22222222'] * 2
        assert claim_name(tmp_path, RANDOM_START, Protocol(), 'x') == 'x-random'
        assert claim_name(tmp_path, FIRST, Protocol(), 'x') == 'x'

    def test_a_moved_file_is_the_same_backbone(self, tmp_path):
        assert claim_name(tmp_path, FIRST, Protocol(), 'x') == 'x'
        assert claim_name(tmp_path, Backbone('moved/backbone.pth', FIRST.sha256), Protocol(), 'x') == 'x'

    def test_two_branches_of_a_checkpoint_get_different_names(self, tmp_path):
        det, seg = (Backbone('x.pth', '1' * 64, branch) for branch in ('det', 'seg'))
        claim_name(tmp_path, det, Protocol(), 'x-det', 'mine')
        with pytest.raises(ConfigError, match=r'row of x.pth \(sha256 11111111, branch det\), not of .*branch seg'):
            claim_name(tmp_path, seg, Protocol(), 'x-seg', 'mine')

    def test_a_name_with_the_folder_of_another_row_is_refused(self, tmp_path):
        claim_name(tmp_path, FIRST, TENTH, 'x')
        with pytest.raises(ConfigError, match="'x-10pct'.*choose another --name"):
            claim_name(tmp_path, FIRST, Protocol(), 'x', wanted='x-10pct')

    def test_deleting_the_folder_of_a_row_frees_its_name(self, tmp_path):
        claim_name(tmp_path, FIRST, Protocol(), 'x')
        (tmp_path / 'x').rmdir()
        assert claim_name(tmp_path, SECOND, Protocol(), 'x') == 'x'

    def test_the_rows_of_a_report_have_their_names_too(self, tmp_path, monkeypatch):
        """As ``tools/run_pipeline.py`` and the demo write them."""
        monkeypatch.setattr('xlearner_mm.report.figure.save_figure', lambda *_: None)
        update_report(tmp_path, [make_row('x', {}, backbone=Backbone('a', '1' * 64))])
        assert claim_name(tmp_path, FIRST, Protocol(), 'x') == 'x'
        assert claim_name(tmp_path, SECOND, Protocol(), 'x') == 'x-22222222'

    @pytest.mark.parametrize('name', ['', 'a/b', '..', '.', 'a/'])
    def test_invalid_folder_names_are_refused(self, tmp_path, name):
        with pytest.raises(ConfigError, match='cannot name a folder'):
            claim_name(tmp_path, FIRST, Protocol(), 'x', wanted=name)


def claim(folder, number):
    return claim_name(folder, Backbone(f'{number}.pth', str(number) * 64), Protocol(), 'x')


def test_concurrent_calls_get_different_names(tmp_path):
    with ProcessPoolExecutor(4, mp_context=get_context('fork')) as pool:
        assert len(set(pool.map(partial(claim, tmp_path), range(1, 9)))) == 8


VOC = TransferSet('voc', 'det', Path('det_voc.py'), METRICS['pascal_voc/AP50'])
COCO = TransferSet('coco', 'det', Path('det_coco.py'), METRICS['coco/bbox_mAP'], extra=True)


def test_a_work_directory_is_of_one_suite(tmp_path):
    for _ in range(2):
        claim_suite(tmp_path / 'out', tmp_path / 'my/suite')
    with pytest.raises(
        ConfigError, match=r'out holds the results of suite .*/my/suite, not of .*/x/my/suite: .*--work-dir'
    ):
        claim_suite(tmp_path / 'out', tmp_path / 'x/my/suite')


@pytest.fixture
def row(tmp_path):
    """Returns what makes the row of one set and its metrics."""

    def make(entry, **metrics):
        write_result(entry.folder(tmp_path / 'mine', 0), SetResult(metrics, 'mine.pth', 'a', 1_000_000, 2_000_000_000))
        return suite_row('mine', tmp_path, [entry], Protocol(), Backbone('mine.pth', 'a'))

    return make


def test_scores_of_a_set_are_in_percent(row):
    assert row(VOC, **{'pascal_voc/AP50': 0.25, 'pascal_voc/mAP': 0.5}).summary['det_ap50'] == 25


def test_the_backbones_size_is_in_millions_and_billions(row):
    made = row(VOC, **{'pascal_voc/AP50': 0.25})
    assert (made.params_m, made.flops_g) == (1, 2)


def test_a_detector_without_detections_scores_0_in_its_row(row):
    """mmdet's CocoMetric has no results then."""
    assert row(COCO, data_time=0.1, time=0.2).transfer['coco'].value == 0


def test_a_metric_that_the_config_does_not_measure_is_an_error(row):
    with pytest.raises(ResultError, match="to 'voc' has no metric 'pascal_voc/AP50', but"):
        row(VOC, **{'pascal_voc/mAP': 0.5})
    with pytest.raises(
        ResultError, match=r"no metric 'pascal_voc/AP50', but.*set primary_metric in det_voc\.py.*coco/bbox_mAP"
    ):
        row(VOC, **{'coco/bbox_mAP_50': 0.5})


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
