"""Trainings that are killed, damaged or out of space resume identically."""

import os
import resource
from itertools import count

import pytest
import torch
from mmengine.hooks import Hook

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.errors import CheckpointError
from xlearner_mm.registry import HOOKS
from xlearner_mm.testing import tiny_expanded

from ..soak.killing import Kill, in_process
from ..soak.trainings import STAGES, differences, outcome, train, write_teacher
from .ranks import run_ranks
from .tiny_runner import image_sources, tiny_runner

STEPS = 4
# Syncing the second checkpoint: the record of the run takes 4 operations on files, each checkpoint 5, the pointer 4,
# the best one 5 and all over again.
IN_SECOND_CHECKPOINT = Kill(operation=29)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """A training of either stage that was never stopped, in ``<stage>/straight``."""
    folders = {}
    for stage in STAGES:
        folders[stage] = tmp_path_factory.mktemp(stage)
        write_teacher(folders[stage])
        assert in_process(lambda stage=stage: train(stage, folders[stage] / 'straight', steps=STEPS))
    return folders


@pytest.fixture
def folder(folders):
    return folders['squeeze']


def resume(stage, folder, **kwargs):
    errors = folder.parent / f'{folder.name}.txt'
    assert in_process(lambda: train(stage, folder, resume=True, steps=STEPS, **kwargs), errors=errors)
    return errors.read_text()


def assert_as_if_never_stopped(folder):
    assert differences(outcome(folder.parent / 'straight', STEPS), outcome(folder, STEPS)) == [], folder.name


@pytest.mark.parametrize('stage', STAGES)
def test_killed_within_its_second_checkpoint_it_resumes_identically(folders, stage):
    killed = folders[stage] / 'killed'
    assert not in_process(lambda: train(stage, killed, steps=STEPS), IN_SECOND_CHECKPOINT)
    assert (killed / 'last_checkpoint').read_text().endswith('iter_2.pth')
    assert (killed / 'iter_4.pth.partial').is_file()
    resume(stage, killed)
    assert_as_if_never_stopped(killed)


@pytest.mark.slow
def test_killed_in_any_file_operation_it_resumes_identically(folder):
    for operation in count(1):
        killed = folder / f'operation_{operation}'
        if in_process(lambda killed=killed: train('squeeze', killed, steps=STEPS), Kill(operation=operation)):
            break  # it has fewer operations
        resume('squeeze', killed)
        assert_as_if_never_stopped(killed)
        best = [path.name for path in killed.glob('best_*')]
        assert best == ['best_sources_mean_iter_4.pth'], killed.name
        assert not list(killed.glob('*.partial')), killed.name
    assert operation > 40, 'the harness counts what is done to files'


def test_resumed_with_workers_it_draws_and_augments_the_same_images(folder):
    workers = folder / 'workers'
    assert not in_process(lambda: train('squeeze', workers, steps=STEPS, workers=2), IN_SECOND_CHECKPOINT)
    resume('squeeze', workers, workers=2)
    assert_as_if_never_stopped(workers)


def test_another_seed_changes_the_training(folder):
    """The comparison of all these tests can fail."""
    other = folder / 'other'
    assert in_process(lambda: train('squeeze', other, steps=STEPS, randomness=dict(seed=1)))
    assert differences(outcome(folder / 'straight', STEPS), outcome(other, STEPS))


@pytest.mark.slow
def test_without_a_set_seed_it_resumes_with_the_drawn_one(folder):
    drawn = folder / 'drawn'
    free = dict(randomness=dict(seed=None))
    assert not in_process(lambda: train('squeeze', drawn, steps=STEPS, **free), IN_SECOND_CHECKPOINT)
    resume('squeeze', drawn, **free)
    meta = torch.load(drawn / 'iter_4.pth', weights_only=False)['meta']
    assert in_process(lambda: train('squeeze', folder / 'same', steps=STEPS, randomness=dict(seed=meta['seed'])))
    assert differences(outcome(folder / 'same', STEPS), outcome(drawn, STEPS)) == []


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_named_and_the_previous_one_used(folder):
    damaged = folder / 'damaged'
    assert in_process(lambda: train('squeeze', damaged, steps=STEPS))
    flip_a_bit(damaged / 'iter_4.pth')
    log = resume('squeeze', damaged)
    assert 'iter_4.pth is damaged' in log
    assert_as_if_never_stopped(damaged)


@HOOKS.register_module()
class FullDiskHook(Hook):
    """From step 3 on, the system refuses files as large as checkpoints."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


def test_a_full_disk_ends_with_the_reason_and_leaves_the_last_checkpoint(folder):
    full = folder / 'full'

    def work():
        hooks = [dict(type='EMAHook', momentum=0.1), dict(type='FullDiskHook')]
        with pytest.raises(CheckpointError, match='iter_4.pth .*written: File too large; .*last.*iter_2'):
            train('squeeze', full, steps=STEPS, hooks=hooks)

    assert in_process(work, errors=folder / 'full.txt')
    assert not list(full.glob('*iter_4*'))
    resume('squeeze', full)
    assert_as_if_never_stopped(full)


def resaved(folder, name, change):
    """A copy of the straight training's last checkpoint with a change in it."""
    content = torch.load(folder / 'straight' / 'iter_4.pth', weights_only=False)
    change(content)
    (folder / name).mkdir()
    torch.save(content, folder / name / 'iter_4.pth')
    (folder / name / 'last_checkpoint').write_text(str(folder / name / 'iter_4.pth'))


def test_nothing_in_a_checkpoint_is_executed(folder):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(folder / 'executed'),)

    resaved(folder, 'pickle', lambda content: content['optimizer'].update(extra=Malicious()))
    with pytest.raises(AssertionError, match='refused.*execute'):
        resume('squeeze', folder / 'pickle')
    # MMEngine runs a config text that it finds in a checkpoint.
    code = f'import os\nos.mkdir({str(folder / "executed")!r})'
    resaved(folder, 'config', lambda content: content['meta'].update(config=code))
    resume('squeeze', folder / 'config')
    assert not (folder / 'executed').exists()


def test_a_checkpoint_of_another_model_is_refused(folder):
    def without_a_layer(content):
        del content['state_dict']['student.layer1.0.conv1.weight']
        del content['ema_state_dict']['module.student.layer1.0.conv1.weight']

    resaved(folder, 'foreign', without_a_layer)
    with pytest.raises(AssertionError, match='does not fit FitNetDistiller'):
        resume('squeeze', folder / 'foreign')


@pytest.mark.parametrize('visualizer', [None, {'type': 'Visualizer', 'name': 'visualizer', 'vis_backends': []}])
def test_runs_of_one_process_log_each_into_its_folder(tmp_path, visualizer):
    """MMEngine keeps visualizers by name: that of stock configs, or that of the second."""
    runs = [
        XLearnerRunner(torch.nn.Linear(1, 1), str(tmp_path / name), visualizer=visualizer, experiment_name='same')
        for name in ('one', 'two')
    ]
    assert len({id(run.visualizer) for run in runs}) == 2


@pytest.mark.parametrize(
    ('backward', 'wrapper_cfg', 'chosen'),
    [
        ('branch', None, 'BranchDataParallel'),
        ('joint', None, 'MMDistributedDataParallel'),
        ('branch', dict(find_unused_parameters=True), 'MMDistributedDataParallel'),
        ('branch', dict(type='BranchDataParallel', bucket_cap_mb=1), 'BranchDataParallel'),
    ],
)
def test_a_model_on_two_processes_is_wrapped_by_its_backward_pass_or_as_told(tmp_path, backward, wrapper_cfg, chosen):
    model = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=image_sources(), backward=backward)

    def work(rank):
        cfg = {} if wrapper_cfg is None else dict(model_wrapper_cfg=wrapper_cfg)
        settings = dict(model=model, runner=XLearnerRunner, max_iters=2, cfg=cfg, launcher='pytorch')
        trained = tiny_runner(tmp_path / 'work', **settings)
        trained.train()
        return type(trained.model).__name__, trained.model.module.state_dict()

    (first, state), (second, other) = run_ranks(work, tmp_path / 'ranks')
    assert first == second == chosen
    assert all(torch.equal(state[name], other[name]) for name in state if 'running' not in name)
    saved = read_checkpoint(str(tmp_path / 'work' / 'iter_2.pth'))['state_dict']
    assert all(torch.equal(saved[name], value) for name, value in state.items())
    assert saved.keys() == state.keys()


@pytest.mark.parametrize(
    ('setting', 'folder'),
    [({}, 'work/annotation_cache'), (dict(annotation_cache='kept'), 'kept'), (dict(annotation_cache=None), None)],
    ids=['by default', 'named', 'off'],
)
def test_annotations_are_kept_in_the_work_directory_unless_the_config_says_otherwise(tmp_path, setting, folder):
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='MultiSourceDataset', sources=image_sources(), **setting),
        sampler=dict(type='MultiSourceSampler', sources=image_sources()),
    )
    runner = XLearnerRunner(
        torch.nn.Linear(1, 1),
        f'{tmp_path}/work',
        train_dataloader=loader,
        train_cfg=dict(by_epoch=False, max_iters=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        experiment_name='annotations',
    )
    cache = MultiSourceDataset(**{k: v for k, v in runner._train_dataloader['dataset'].items() if k != 'type'})._cache
    assert (cache and cache.folder.removeprefix(f'{tmp_path}/')) == folder
