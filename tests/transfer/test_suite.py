"""The suite: transfers as jobs, and the command."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.fileio.backends import registry_utils

from tests.export.colors import config_text, write_colors
from tests.fixtures.checkpoints import write_published
from xlearner_mm.checkpoint import sha256_of
from xlearner_mm.pipeline import JobRunner, Outcome
from xlearner_mm.registry import MODELS
from xlearner_mm.report.rows import SUMMARY
from xlearner_mm.testing import tiny_resnet
from xlearner_mm.transfer import suite as module
from xlearner_mm.transfer.protocol import SUITES, Protocol, Suite, suite_of, transfer_sets
from xlearner_mm.transfer.rows import SetResult, write_result
from xlearner_mm.transfer.suite import run_suite, transfer_jobs, visible_devices


def test_jobs_start_from_the_backbone_they_wait_for(configs):
    jobs = transfer_jobs('xlearner', Path('b.pth'), transfer_sets(configs), Path('out'), ('xlearner/export',))
    assert jobs[0].name == 'xlearner/cls_cars/seed_0'
    assert all(' --checkpoint b.pth ' in ' '.join(job.command) for job in jobs)
    assert all(job.needs == ('xlearner/export',) for job in jobs)
    assert len({job.folder for job in jobs}) == 4


def test_durations_of_other_suites_than_the_miniatures_are_rather_overestimated(configs):
    def seconds(**settings):
        return [job.seconds for job in transfer_jobs('x', None, transfer_sets(configs), Path('out'), **settings)]

    assert suite_of('mini').slower == 1
    assert seconds(slower=suite_of(str(configs)).slower) == [10 * each for each in seconds()]


def test_a_call_estimates_by_its_suite(suite, monkeypatch):
    seconds = []

    class Interrupted:
        def __init__(self, jobs, *_, **__):
            seconds.append([job.seconds for job in jobs])

        def run(self):
            return Outcome(module.INTERRUPTED, {})

    monkeypatch.setattr(module, 'JobRunner', Interrupted)
    for slower in (1, 7):
        monkeypatch.setitem(SUITES, 'mini', Suite(suite / 'configs', SUMMARY, slower))
        run(suite)
    assert seconds[1] == [7 * each for each in seconds[0]]


def test_transfers_from_scratch_start_at_random(configs):
    jobs = transfer_jobs('scratch', None, transfer_sets(configs), Path('out'))
    assert all('--random-start' in job.command for job in jobs)


def test_a_protocol_gives_every_seed_a_job_and_a_folder_of_its_own(configs):
    sets = transfer_sets(configs, ['cars'])
    protocol = Protocol(frozen=True, data_fraction=0.1, seeds=2)
    jobs = transfer_jobs('mine', Path('b.pth'), sets, Path('out'), protocol=protocol, branch='det')
    assert [str(job.folder) for job in jobs] == ['out/mine/cls_cars/seed_0', 'out/mine/cls_cars/seed_1']
    line = ' '.join(jobs[1].command)
    for part in (
        '--checkpoint b.pth',
        '--branch det',
        '--seed 1',
        '--data-fraction 0.1',
        '--frozen',
        '--set-name cars',
    ):
        assert part in line
    assert Path('b.pth') in jobs[0].inputs
    assert '--random-start' in transfer_jobs('mine', None, sets, Path('out'), protocol=protocol)[0].command


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite of two sets of colors, the second without its data, and a checkpoint."""
    configs = tmp_path / 'configs'
    configs.mkdir()
    for name in ('one', 'two'):
        (configs / f'cls_{name}.py').write_text(config_text(tmp_path / name))
    write_colors(tmp_path / 'one')
    monkeypatch.setitem(SUITES, 'mini', Suite(configs, SUMMARY))
    monkeypatch.chdir(Path(__file__).parents[2])  # jobs call tools by paths from here
    torch.save({'state_dict': MODELS.build(tiny_resnet()).state_dict()}, tmp_path / 'tiny.pth')
    return tmp_path


def run(suite, **settings):
    return run_suite(str(suite / 'tiny.pth'), 'mini', work_dir=suite / 'out', **{'workers': 2, **settings})


def rows(suite):
    return json.loads((suite / 'out' / 'report.json').read_text())['rows']


def test_a_failed_set_keeps_the_others_and_is_repeated_alone(suite, capfd):
    assert run(suite) == 1
    error = capfd.readouterr().err
    assert '1 of 2 failed: tiny/cls_two/seed_0' in error
    (row,) = rows(suite)
    assert row['method'] == 'tiny'
    assert row['transfer']['one']['value'] > 50
    assert row['transfer']['two']['value'] is None
    assert row['summary']['avg_cls'] is None, 'the mean over the rest would be another number'
    parameters = sum(parameter.numel() for parameter in MODELS.build(tiny_resnet()).parameters())
    assert row['params_m'] == round(parameters / 1e6, 4)

    write_colors(suite / 'two', seed=1)
    capfd.readouterr()
    assert run(suite) == 0
    said = capfd.readouterr().out
    assert 'cls_two/seed_0: starts' in said
    assert 'cls_one/seed_0: starts' not in said
    (row,) = rows(suite)
    assert row['summary']['avg_cls'] == pytest.approx(
        (row['transfer']['one']['value'] + row['transfer']['two']['value']) / 2, abs=0.01
    )

    capfd.readouterr()
    assert run(suite) == 0, 'nothing is left to do'
    assert 'starts' not in capfd.readouterr().out


@pytest.mark.slow
def test_further_calls_add_sets_seeds_and_rows(suite):
    write_colors(suite / 'two', seed=1)
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


@pytest.fixture
def done_at_once(monkeypatch):
    """Puts results in the place of transfers; returns the names of the jobs that have run."""
    names = []

    class AtOnce(JobRunner):
        def _start_ready(self):
            while self._waiting:
                super()._start_ready()

        def _start(self, job):
            names.append(job.name)
            self.states.begin(job.name, self._fingerprints[job.name])
            self._waiting.remove(job.name)
            of = job.command[job.command.index('--checkpoint') + 1] if '--checkpoint' in job.command else None
            metrics = {'single-label/recall': 10.0 + int(job.folder.name[-1])}
            write_result(job.folder, SetResult(metrics, of, of and sha256_of(of), 1, 1))
            self.states.add_time(job.name, 8.0, finished=True)

    monkeypatch.setattr(module, 'JobRunner', AtOnce)
    monkeypatch.setattr(module, '_import_for_all', lambda _: None)
    monkeypatch.setattr('xlearner_mm.report.figure.save_figure', lambda *_: None)
    return names


class TestAnotherCheckpointOfTheSameName:
    """``backbone.pth`` of two work directories of one name, or a file that was written anew."""

    def write(self, suite, folder):
        path = suite / folder / 'xlearner' / 'backbone.pth'
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({'state_dict': MODELS.build(tiny_resnet()).state_dict()}, path)
        return path

    def run(self, suite, path, *only, **settings):
        return run_suite(str(path), 'mini', only, work_dir=suite / 'out', **settings)

    def test_it_gets_a_row_and_a_folder_of_its_own_and_the_first_keeps_all(self, suite, done_at_once, capfd):
        first, second = self.write(suite, 'a'), self.write(suite, 'b')
        digest = sha256_of(str(second))[:8]
        assert self.run(suite, first, 'one') == 0
        assert self.run(suite, second, 'one', 'two') == 0
        assert [row['method'] for row in rows(suite)] == ['xlearner', f'xlearner-{digest}']
        assert f"the row of {second} (sha256 {digest}) is 'xlearner-{digest}'" in capfd.readouterr().out
        assert self.run(suite, first, 'two') == 0
        assert [None not in [score['value'] for score in row['transfer'].values()] for row in rows(suite)] == [True] * 2
        assert [row['backbone']['sha256'] for row in rows(suite)] == [sha256_of(str(first)), sha256_of(str(second))]
        assert self.run(suite, second) == 0
        assert len(done_at_once) == 4, 'neither has taken away what the other had done'

    def test_a_retrained_checkpoint_is_another_backbone(self, suite, done_at_once):
        assert self.run(suite, self.write(suite, 'a')) == 0
        assert self.run(suite, self.write(suite, 'a')) == 0
        assert len({row['method'] for row in rows(suite)}) == len(rows(suite)) == 2

    def test_a_taken_name_is_refused_before_anything_runs(self, suite, done_at_once, capfd):
        first, second = self.write(suite, 'a'), self.write(suite, 'b')
        assert self.run(suite, first, 'one', name='mine') == 0
        assert self.run(suite, second, 'one', name='mine', protocol=Protocol(probe='knn')) == 1
        (error,) = capfd.readouterr().err.splitlines()
        assert error.startswith("error: 'mine' in ")
        assert f'is the row of {first} (sha256 ' in error
        assert f'not of {second} (sha256 ' in error
        assert error.endswith('choose another --name')
        assert len(done_at_once) == 1

    def test_a_checkpoint_without_backbone_takes_no_name(self, suite, done_at_once, capfd):
        path = self.write(suite, 'a')
        torch.save({'state_dict': {}}, path)
        assert self.run(suite, path) == 1
        assert 'holds no' in capfd.readouterr().err
        assert self.run(suite, self.write(suite, 'a')) == 0
        assert [row['method'] for row in rows(suite)] == ['xlearner']


class TestSeedsOfSeveralCalls:
    """Test values are 10 + seed, every transfer takes 8 seconds."""

    def test_a_later_call_with_fewer_seeds_keeps_all_seeds(self, suite, done_at_once):
        assert run(suite, only=['one'], protocol=Protocol(seeds=2)) == 0
        assert run(suite, only=['two'], protocol=Protocol(seeds=1)) == 0
        (row,) = rows(suite)
        assert row['transfer']['one']['values'] == [10, 11]
        assert row['transfer']['two']['value'] == 10
        assert (row['summary']['avg_cls'], row.get('std')) == (10.25, None), 'one set has no deviation to give'
        assert row['seconds'] == 24, 'of all transfers whose values stand there'
        assert row['protocol']['seeds'] == '1-2'
        assert 'lbfgs probe, all data, 1-2 seeds' in (suite / 'out' / 'report.md').read_text()

    def test_more_seeds_are_only_the_sets_own_until_all_have_them(self, suite, done_at_once):
        assert run(suite, only=['two'], protocol=Protocol(seeds=1)) == 0
        assert run(suite, only=['one'], protocol=Protocol(seeds=2)) == 0
        assert rows(suite)[0]['protocol']['seeds'] == '1-2'
        assert run(suite, only=['two'], protocol=Protocol(seeds=2)) == 0
        (row,) = rows(suite)
        assert (row['protocol']['seeds'], row['std']['avg_cls'], row['seconds']) == (2, 0.71, 32)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'only': ['three']}, r"has no set ['three']; it has ['one', 'two']"),
        ({'paper': ['Y-Learner']}, 'Y-Learner'),
        ({'options': ['max_iters']}, "'max_iters' must be KEY=VALUE"),
        ({'workers': 0}, 'workers must be at least 1, got 0'),
        ({'name': 'my/backbone'}, "'my/backbone' cannot name a folder"),
    ],
)
def test_bad_input_ends_in_one_line_before_anything_runs(suite, capfd, settings, message):
    assert run(suite, **settings) == 1
    said = capfd.readouterr()
    assert message in said.err
    assert said.err.startswith('error: ')
    assert 'starts' not in said.out


def test_results_of_another_suite_are_not_replaced(suite, done_at_once, capfd):
    assert run(suite) == 0
    other = shutil.copytree(suite / 'configs', suite / 'other/configs')
    finished = sorted((suite / 'out').rglob('result.json'))
    assert run_suite(str(suite / 'tiny.pth'), str(other), work_dir=suite / 'out') == 1
    assert 'holds the results of suite' in capfd.readouterr().err
    assert len(finished) == 2
    assert sorted((suite / 'out').rglob('result.json')) == finished


def test_files_of_a_folder_that_are_not_run_are_said(suite, done_at_once, capfd):
    (suite / 'configs/clas_three.py').write_text('')
    assert run_suite(str(suite / 'tiny.pth'), str(suite / 'configs'), work_dir=suite / 'own') == 0
    assert 'no transfer sets, as they are not named <task>_<set>.py' in (said := capfd.readouterr().out)
    assert 'clas_three.py' in said


def test_a_missing_checkpoint_is_named(suite, capfd):
    shutil.rmtree(suite / 'one')
    assert run_suite(str(suite / 'nowhere.pth'), 'mini', work_dir=suite / 'out') == 1
    assert 'nowhere.pth does not exist' in capfd.readouterr().err


def test_a_random_start_has_no_branches(suite, capfd):
    assert run_suite('scratch', 'mini', work_dir=suite / 'out', branch='det') == 1
    assert "error: 'scratch' is a random start and has no branch 'det'" in capfd.readouterr().err


class TestStore:
    """A checkpoint under an address that MMEngine's file clients read."""

    def test_it_is_transferred_and_named_like_a_file(self, suite, done_at_once, monkeypatch):
        class Bucket(LocalBackend):
            def _format_path(self, filepath):
                return filepath

            def exists(self, filepath):
                return super().exists(suite / filepath.removeprefix('bucket://'))

            def get(self, filepath):
                return super().get(suite / filepath.removeprefix('bucket://'))

        monkeypatch.setitem(registry_utils.backends, 'bucket', Bucket)
        monkeypatch.setitem(registry_utils.prefix_to_backends, 'bucket', Bucket)
        assert run_suite('bucket://tiny.pth', 'mini', work_dir=suite / 'out') == 0
        (row,) = rows(suite)
        assert row['method'] == 'tiny'
        assert row['backbone']['checkpoint'] == 'bucket://tiny.pth'
        assert row['transfer']['one']['value'] == 10

    def test_a_missing_storage_client_is_one_line(self, suite, capfd):
        assert run_suite('s3://bucket/tiny.pth', 'mini', work_dir=suite / 'out') == 1
        assert capfd.readouterr().err == 'error: Please install petrel_client to enable PetrelBackend.\n'


def test_an_interrupted_call_reports_nothing(suite, monkeypatch):
    class Interrupted:
        def __init__(self, *_, **__):
            pass

        def run(self):
            return Outcome(module.INTERRUPTED, {})

    monkeypatch.setattr(module, 'JobRunner', Interrupted)
    assert run(suite) == 130
    assert not (suite / 'out' / 'report.json').exists()


@pytest.mark.parametrize(('said', 'devices'), [(None, ['0', '1']), ('2,7', ['2', '7']), ('2', ['2'])])
def test_workers_share_the_gpus_that_the_call_may_use(monkeypatch, said, devices):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if said:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', said)
    assert visible_devices() == devices


def test_the_config_of_a_baseline_names_file_row_and_the_slides_rows_beside_it(suite, capfd):
    write_published(suite / 'published.pth', 'torchvision', MODELS.build(tiny_resnet()).state_dict())
    config = suite / 'baseline.py'
    config.write_text(f"checkpoint = '{suite}/published.pth'\nname = 'imagenet'\npaper = ['ImageNet supervised']\n")
    assert run_suite(str(config), 'mini', ['one'], work_dir=suite / 'out', protocol=Protocol(probe='knn')) == 0
    assert [row['method'] for row in rows(suite)] == ['ImageNet supervised (paper)', 'imagenet']
    config.write_text("checkpoint = 'nowhere.pth'\nname = 'imagenet'\n")
    capfd.readouterr()
    assert run_suite(str(config), 'mini', work_dir=suite / 'out') == 1
    assert 'baseline.py: there is no nowhere.pth: put the published file there' in capfd.readouterr().err
