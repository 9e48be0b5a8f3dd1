"""Squeezes from a config file: interrupted ones resume bit-identically, with the teacher of their start."""

import itertools
import re
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.engine.launch import launch
from xlearner_mm.models.squeeze.teachers import Teacher
from xlearner_mm.report.results import read_results

from .tiny_runner import image_sources
from .tiny_squeeze import tiny_squeeze, validated_sources, validation, write_teacher

STEPS = 20
RESUMED = itertools.count()
FLOWERS = image_sources()['birds']


def write_config(folder, teacher, **settings):
    del teacher['model']['sources']
    cfg = dict(
        default_scope='mmengine',
        sources=validated_sources('birds', 'cars'),
        model=tiny_squeeze(dict(teacher, checkpoint=str(folder / 'expansion')), **settings),
        train_dataloader=dict(
            num_workers=0,
            dataset=dict(type='MultiSourceDataset'),
            sampler=dict(type='MultiSourceSampler'),
            collate_fn=dict(type='multi_source_collate'),
        ),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=3e-3), clip_grad=dict(max_norm=10.0)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=STEPS, by_epoch=False)],
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=STEPS, val_interval=STEPS // 2),
        test_cfg=dict(type='MultiSourceTestLoop'),
        test_dataloader=dict(),
        test_evaluator=dict(type='MultiSourceEvaluator'),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(
                type='CheckpointHook', by_epoch=False, interval=STEPS // 2, save_best='sources/fidelity', rule='greater'
            ),
        ),
        custom_hooks=[
            dict(type='StageMetaHook'),
            dict(type='FidelityHook'),
            dict(type='EMAHook', momentum=0.1),
        ],
        log_processor=dict(by_epoch=False, window_size=1),
        randomness=dict(seed=0),
        **validation(),
    )
    Config(cfg).dump(folder / 'squeeze.py')


def train_straight(folder, **settings):
    (folder / 'expansion').mkdir()
    teacher = write_teacher(folder / 'expansion' / 'iter_9.pth')
    (folder / 'expansion' / 'last_checkpoint').write_text('iter_9.pth')
    write_config(folder, teacher, **settings)
    assert launch('train', str(folder / 'squeeze.py'), str(folder / 'straight')) == 0
    return folder


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """An expansion stage, and a squeeze of 20 steps that was never stopped, with all that it trained."""
    return train_straight(tmp_path_factory.mktemp('squeeze'))


def copy_half(folder):
    half = folder / 'half'
    half.mkdir()
    shutil.copy(folder / 'straight' / 'iter_10.pth', half)
    (half / 'last_checkpoint').write_text(str(half / 'iter_10.pth'))
    return half


@pytest.fixture
def interrupted(trained):
    """The same squeeze after half of its steps; the expansion stage is put back after a test."""
    shutil.copytree(trained / 'expansion', trained / 'kept')
    half = copy_half(trained)
    yield half
    for folder in (half, trained / 'expansion'):
        shutil.rmtree(folder)
    (trained / 'kept').rename(trained / 'expansion')


def resume(work_dir, *options):
    # MMEngine's visualizer is one for all trainings of a name within a second.
    name = f'experiment_name=resumed_{next(RESUMED)}'
    return launch('train', str(work_dir.parent / 'squeeze.py'), str(work_dir), [name, *options], resume='auto')


def weights_of(work_dir):
    content = read_checkpoint(str(work_dir / f'iter_{STEPS}.pth'))
    return {f'{kind}.{key}': content[kind][key] for kind in ('state_dict', 'ema_state_dict') for key in content[kind]}


def test_ten_steps_and_ten_resumed_equal_twenty_bitwise(trained, interrupted):
    """Student, guidance, standardizers and their moving averages; every loss of every step."""
    assert resume(interrupted) == 0
    straight, found = weights_of(trained / 'straight'), weights_of(interrupted)
    assert {key.split('.')[1] for key in straight} >= {'student', 'guidance', 'standardizers', 'module'}
    assert straight.keys() == found.keys()
    assert [key for key, value in straight.items() if not torch.equal(value, found[key])] == []
    losses, resumed = (read_results(trained / name).losses() for name in ('straight', 'half'))
    assert set(losses) == {'loss', *(f'loss_{t}_{i}' for t in ('cls', 'det', 'seg') for i in range(4))}
    for name, curve in losses.items():
        assert len(curve) == STEPS
        assert [point for point in curve if point[0] > STEPS // 2] == resumed[name]


def test_parts_that_draw_random_numbers_or_count_steps_resume_bitwise_too(tmp_path):
    folder = train_straight(
        tmp_path,
        start_from='average',
        standardize=dict(type='PHIStandardize', refits=(1, 4, 15)),
        guidance=dict(type='TwoLayerGuidance'),
        loss=dict(type='SmoothL1CosineLoss'),
        drop_teachers=0.5,
        mix=dict(type='CutMix', alpha=1.0),
        heads=dict(loss='outputs'),
    )
    assert resume(copy_half(folder)) == 0
    straight, found = weights_of(folder / 'straight'), weights_of(folder / 'half')
    assert straight.keys() == found.keys()
    assert [key for key, value in straight.items() if not torch.equal(value, found[key])] == []
    half = read_checkpoint(str(folder / 'straight' / 'iter_10.pth'))['state_dict']
    assert not torch.equal(half['standardizers.det_2.rotation'], straight['state_dict.standardizers.det_2.rotation'])


def test_the_branches_are_not_measured_again(interrupted):
    assert resume(interrupted) == 0
    log = next(interrupted.glob('*/*.log')).read_text()
    assert 'birds/fidelity' in log
    assert 'measuring the branches' not in log


def test_a_further_trained_expansion_does_not_change_the_teacher(trained, interrupted):
    write_teacher(trained / 'expansion' / 'iter_12.pth', seed=5)
    (trained / 'expansion' / 'last_checkpoint').write_text('iter_12.pth')
    assert resume(interrupted) == 0
    straight, found = weights_of(trained / 'straight'), weights_of(interrupted)
    assert all(torch.equal(value, found[key]) for key, value in straight.items())
    recorded = read_checkpoint(str(interrupted))['meta']['xlearner']['teacher']
    assert recorded['checkpoint'].endswith('iter_9.pth')


def test_a_teacher_that_has_changed_ends_a_resumed_training_before_it_starts(trained, interrupted, capfd):
    write_teacher(trained / 'expansion' / 'iter_9.pth', seed=5)
    assert resume(interrupted) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('error: the teacher')
    assert 'iter_9.pth, of SHA-256' in last
    assert 'has changed since; put it back' in last
    assert not list(interrupted.glob('*/vis_data/scalars.json')), 'no step was taken'


def test_a_missing_teacher_ends_a_resumed_training_before_it_starts(trained, interrupted, capfd):
    (trained / 'expansion' / 'iter_9.pth').unlink()
    assert resume(interrupted) == 1
    assert 'iter_9.pth does not exist' in capfd.readouterr().err


def test_real_steps_leave_the_teacher_as_it_was_and_out_of_everything(trained, interrupted, monkeypatch):
    runners = []
    monkeypatch.setattr(Runner, 'train', lambda self, train=Runner.train: runners.append(self) or train(self))
    assert resume(interrupted) == 0
    model = runners[0].model
    teacher = model.teacher.module
    fresh = Teacher(model.teacher._model_cfg, str(trained / 'expansion')).module
    assert all(torch.equal(value, fresh.state_dict()[key]) for key, value in teacher.state_dict().items())
    assert not any(module.training for module in teacher.backbone.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    optimized = {id(p) for group in runners[0].optim_wrapper.param_groups for p in group['params']}
    assert optimized == {id(p) for p in model.parameters()}
    assert not optimized & {id(p) for p in teacher.parameters()}
    content = read_checkpoint(str(interrupted))
    keys = [*content['state_dict'], *content['ema_state_dict']]
    rooms = {key.removeprefix('module.').split('.')[0] for key in keys}
    assert rooms == {'student', 'guidance', 'standardizers', 'steps'}


def test_the_moving_average_is_what_is_validated_and_saved(trained, interrupted, monkeypatch):
    """The heads read the averaged student: the checkpoint's own, tested later, gives the metric of the training."""
    validated = read_results(trained / 'straight').metrics()
    tested = []
    monkeypatch.setattr(Runner, 'test', lambda self, test=Runner.test: tested.append(test(self)))
    cfg = Config.fromfile(trained / 'squeeze.py')
    cfg.custom_hooks = cfg.custom_hooks[:2]
    cfg.dump(trained / 'test.py')
    checkpoint = str(trained / 'straight' / f'iter_{STEPS}.pth')
    assert launch('test', str(trained / 'test.py'), str(trained / 'test'), checkpoint=checkpoint) == 0
    assert tested[0]['birds/score'] == pytest.approx(validated['birds/score'], rel=1e-5)
    assert tested[0]['sources/fidelity'] == pytest.approx(validated['sources/fidelity'], rel=1e-5)
    weights = weights_of(trained / 'straight')
    student, average = (weights[f'{kind}student.conv1.weight'] for kind in ('ema_state_dict.module.', 'state_dict.'))
    assert not torch.equal(student, average)


def test_sources_unknown_to_the_teacher_are_refused_before_training(trained, interrupted, capfd):
    assert resume(interrupted, f'sources.flowers={FLOWERS}') == 1
    assert re.search('error: .*flowers', capfd.readouterr().err)
