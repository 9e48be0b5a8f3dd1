"""The suite's command: one row a call, what failed or was stopped is made up for, nothing is done twice."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.transfer.colours import config_text, write_colours
from xlearner_mm.pipeline import Outcome
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_resnet
from xlearner_mm.transfer import run_suite as module
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.run_suite import row_name, run_suite, visible_devices
from xlearner_mm.transfer.suite import SUITES


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite of two sets of colours, the second without its data, and a checkpoint."""
    configs = tmp_path / 'configs'
    configs.mkdir()
    for name in ('one', 'two'):
        (configs / f'cls_{name}.py').write_text(config_text(tmp_path / name))
    write_colours(tmp_path / 'one')
    monkeypatch.setitem(SUITES, 'mini', configs)
    monkeypatch.chdir(Path(__file__).parents[2])  # jobs call tools by paths from here
    torch.save({'state_dict': MODELS.build(tiny_resnet()).state_dict()}, tmp_path / 'tiny.pth')
    return tmp_path


def run(suite, **settings):
    return run_suite(str(suite / 'tiny.pth'), 'mini', work_dir=suite / 'out', workers=2, **settings)


def rows(suite):
    return json.loads((suite / 'out' / 'report.json').read_text())['rows']


def test_a_failing_set_does_not_lose_the_others_and_is_made_up_for_alone(suite, capfd):
    assert run(suite) == 1
    error = capfd.readouterr().err
    assert '1 of 2 failed: tiny/cls_two/seed_0' in error
    (row,) = rows(suite)
    assert row['method'] == 'tiny'
    assert row['transfer']['one']['value'] > 50
    assert row['transfer']['two']['value'] is None
    assert row['avg_cls'] is None, 'the mean over the rest would be another number'
    parameters = sum(parameter.numel() for parameter in MODELS.build(tiny_resnet()).parameters())
    assert row['params_m'] == round(parameters / 1e6, 4)

    write_colours(suite / 'two', seed=1)
    capfd.readouterr()
    assert run(suite) == 0
    said = capfd.readouterr().out
    assert 'cls_two/seed_0: starts' in said
    assert 'cls_one/seed_0: starts' not in said
    (row,) = rows(suite)
    assert row['avg_cls'] == pytest.approx(
        (row['transfer']['one']['value'] + row['transfer']['two']['value']) / 2, abs=0.01
    )

    capfd.readouterr()
    assert run(suite) == 0, 'nothing is left to do'
    assert 'starts' not in capfd.readouterr().out


@pytest.mark.slow
def test_further_calls_add_sets_seeds_and_rows(suite):
    write_colours(suite / 'two', seed=1)
    assert run(suite, only=['one']) == 0
    assert run(suite, only=['two'], protocol=Protocol(seeds=2)) == 0
    (row,) = rows(suite)
    assert row['transfer']['one']['value'] is not None, 'what an earlier call has left counts'
    assert len(row['transfer']['two']['values']) == 2

    assert run(suite, only=['one'], name='other', protocol=Protocol(probe='knn')) == 0
    assert run_suite('scratch', 'mini', ['one'], work_dir=suite / 'out') == 0
    assert [row['method'] for row in rows(suite)] == ['tiny', 'other', 'scratch']
    assert [row['protocol']['probe'] for row in rows(suite)] == ['lbfgs', 'knn', 'lbfgs']

    option = 'test_dataloader.batch_size=5'
    assert run(suite, only=['one'], options=[option]) == 0
    overridden = rows(suite)[-1]
    assert (overridden['method'], overridden['protocol']['options']) == ('tiny', option)
    assert overridden['transfer']['two']['value'] is None, 'what was judged otherwise does not count'


def test_results_of_another_checkpoint_under_the_same_name_do_not_count(suite):
    write_colours(suite / 'two', seed=1)
    assert run(suite) == 0
    torch.save({'state_dict': MODELS.build(tiny_resnet()).state_dict()}, suite / 'tiny.pth')
    assert run(suite, only=['one']) == 0
    (row,) = rows(suite)
    assert row['transfer']['one']['value'] is not None
    assert row['transfer']['two']['value'] is None


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'only': ['three']}, r"has no set ['three']; it has ['one', 'two']"),
        ({'paper': ['Y-Learner']}, 'Y-Learner'),
        ({'options': ['max_iters']}, "'max_iters' must be KEY=VALUE"),
    ],
)
def test_bad_input_ends_in_one_line_before_anything_runs(suite, capfd, settings, message):
    assert run(suite, **settings) == 1
    said = capfd.readouterr()
    assert message in said.err
    assert said.err.startswith('error: ')
    assert 'starts' not in said.out


def test_a_missing_checkpoint_is_named(suite, capfd):
    shutil.rmtree(suite / 'one')
    assert run_suite(str(suite / 'nowhere.pth'), 'mini', work_dir=suite / 'out') == 1
    assert 'nowhere.pth does not exist' in capfd.readouterr().err


def test_an_interrupted_call_reports_nothing(suite, monkeypatch):
    class Interrupted:
        def __init__(self, *_, **__):
            pass

        def run(self):
            return Outcome(module.INTERRUPTED, {})

    monkeypatch.setattr(module, 'JobRunner', Interrupted)
    assert run(suite) == 130
    assert not (suite / 'out' / 'report.json').exists()


@pytest.mark.parametrize(
    ('checkpoint', 'name'),
    [
        ('exports/simclr.pth', 'simclr'),
        ('work_dirs/demo/xlearner/backbone.pth', 'xlearner'),
        ('work_dirs/xlearner_r50/iter_200000.pth', 'xlearner_r50'),
        ('work_dirs/xlearner_r50', 'xlearner_r50'),
        ('scratch', 'scratch'),
    ],
)
def test_a_row_is_named_after_its_checkpoint(checkpoint, name):
    assert row_name(checkpoint) == name
    assert row_name(checkpoint, 'det') == f'{name}-det', 'branches of one checkpoint are rows beside each other'


@pytest.mark.parametrize(('said', 'devices'), [(None, ['0', '1']), ('2,7', ['2', '7']), ('2', ['2'])])
def test_workers_share_the_gpus_that_the_call_may_use(monkeypatch, said, devices):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if said:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', said)
    assert visible_devices() == devices
