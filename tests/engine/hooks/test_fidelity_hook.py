"""Fidelity: the branches' own heads on the student, as a share of what they reach on the branches."""

import json
import random
import re

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.errors import ConfigError
from xlearner_mm.testing import tiny_resnet

from ..tiny_runner import TinyImageDataset, tiny_runner
from ..tiny_squeeze import tiny_squeeze, validated_sources, validation, write_teacher

HOOKS = (dict(type='StageMetaHook'), dict(type='FidelityHook'))


class Watch(Hook):
    """The metrics that other hooks are given."""

    def __init__(self):
        self.seen = []

    def after_val_epoch(self, runner, metrics=None):
        self.seen.append(dict(metrics))


@pytest.fixture
def teacher(tmp_path):
    return write_teacher(tmp_path / 'teacher.pth')


@pytest.fixture
def squeeze(tmp_path, teacher):
    """A runner of a squeeze of two steps with validation after each, and what its hooks are given."""

    def squeeze(name='squeeze', sources=('birds', 'cars'), model=None, **kwargs):
        watch = Watch()
        settings = dict(
            model=model or tiny_squeeze(teacher),
            max_iters=2,
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=2, val_interval=1),
            **validation(validated_sources(*sources)),
        )
        return tiny_runner(tmp_path / name, [*HOOKS, watch], **{**settings, **kwargs}), watch.seen

    return squeeze


def score_of(network, source):
    """Return the metric on the validation images of a source, computed without a loop."""
    items = [TinyImageDataset(source, length=6, seed=1)[i] for i in range(6)]
    batch = {source: {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}}
    with torch.no_grad():
        predicted = network.eval().val_step(batch)
    return sum(float(sample.pred_score.max()) for sample in predicted) / len(predicted)


def test_fidelity_is_the_students_metric_in_percent_of_the_branchs(squeeze):
    runner, seen = squeeze()
    runner.train()
    shares = {}
    for source in ('birds', 'cars'):
        learner = runner.model.teacher.learner
        port = learner.networks[source].backbone
        student = score_of(runner.model, source)
        port.bind(learner.backbone.forward_task)
        shares[source] = 100 * student / score_of(learner, source)
        assert seen[-1][f'{source}/fidelity'] == pytest.approx(shares[source], rel=1e-4)
        assert abs(shares[source] - 100) > 1e-3
    assert seen[-1]['sources/fidelity'] == pytest.approx(sum(shares.values()) / 2, rel=1e-4)


def test_tensorboard_has_it_at_every_validation_beside_the_similarity(squeeze, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    visualizer = dict(type='Visualizer', vis_backends=[dict(type='TensorboardVisBackend')])
    hooks = [*HOOKS, dict(type='FeatureSimilarityHook')]
    runner, _ = squeeze(custom_hooks=hooks, visualizer=visualizer)
    runner.train()
    events = EventAccumulator(str(next((tmp_path / 'squeeze').glob('*/vis_data'))))
    events.Reload()
    logged = {name: [event.step for event in events.Scalars(name)] for name in events.Tags()['scalars']}
    for name in ('birds/fidelity', 'cars/fidelity', 'sources/fidelity'):
        assert logged[name] == [1, 2]
    assert logged['similarity/cls_0']


def test_a_student_equal_to_the_branches_has_full_fidelity(squeeze, teacher):
    class Reproduce(Hook):
        def before_val_epoch(self, runner):
            runner.model.student.load_state_dict(
                {
                    key.removeprefix('backbone.branches.cls.backbone.'): value
                    for key, value in torch.load(teacher['checkpoint'])['state_dict'].items()
                    if key.startswith('backbone.branches.cls.backbone.')
                }
            )
            for layer in runner.model.guidance.values():
                layer.conv.weight.data = torch.eye(layer.conv.out_channels)[:, :, None, None]
                layer.conv.bias.data.zero_()

    unlinked = dict(teacher['model']['backbone'], reconciliation=dict(topology='none'))
    state = torch.load(teacher['checkpoint'])['state_dict']
    state = {key: value for key, value in state.items() if not key.startswith('backbone.links')}
    torch.save(dict(state_dict=state), teacher['checkpoint'])
    cfg = dict(teacher, model=dict(teacher['model'], backbone=unlinked))
    runner, seen = squeeze(model=tiny_squeeze(cfg, standardize=None))
    runner.register_hook(Reproduce())
    runner.train()
    assert seen[-1]['sources/fidelity'] == pytest.approx(100, abs=0.01)


def test_log_and_best_checkpoint_have_it(squeeze, tmp_path):
    checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=2, save_best='sources/fidelity', rule='greater')
    runner, seen = squeeze(default_hooks=dict(logger=dict(type='LoggerHook', interval=1), checkpoint=checkpoint))
    runner.train()
    lines = next((tmp_path / 'squeeze').glob('*/vis_data/scalars.json')).read_text().splitlines()
    logged = [json.loads(line) for line in lines if 'fidelity' in line]
    assert [line['sources/fidelity'] for line in logged] == [metrics['sources/fidelity'] for metrics in seen]
    assert len(list((tmp_path / 'squeeze').glob('best_sources_fidelity_iter_*.pth'))) == 1


@pytest.fixture
def measured(monkeypatch):
    """Return how often the branches are measured."""
    calls = []
    inside = 'xlearner_mm.models.squeeze.FitNetDistiller.heads_on_branches'
    from xlearner_mm.models.squeeze import FitNetDistiller

    original = FitNetDistiller.heads_on_branches
    monkeypatch.setattr(inside, lambda self: calls.append(1) or original(self))
    return calls


def test_the_branches_are_measured_once_and_a_resumed_training_knows(squeeze, tmp_path, measured):
    squeeze()[0].train()
    assert len(measured) == 1
    kept = read_checkpoint(str(tmp_path / 'squeeze'))['meta']['xlearner_fidelity']
    assert kept['metrics']['birds'][0] == 'score'
    assert kept['last']['step'] == 1, 'a checkpoint is saved before the validation of its own step'
    longer = dict(type='IterBasedTrainLoop', max_iters=3, val_interval=1)
    runner, seen = squeeze(resume=True, train_cfg=longer)
    runner.train()
    assert len(measured) == 1
    birds = runner.val_loop.evaluator.primary(seen[-1])['birds']
    assert seen[-1]['birds/fidelity'] == pytest.approx(100 * birds / kept['metrics']['birds'][1])


def test_another_teacher_is_measured_again(squeeze, tmp_path, measured):
    squeeze()[0].train()
    other = write_teacher(tmp_path / 'other.pth', seed=3)
    path = str(tmp_path / 'squeeze' / 'iter_2.pth')
    squeeze('other', model=tiny_squeeze(other), load_from=path)[0].train()
    assert len(measured) == 2


def test_other_sources_are_measured_again(squeeze, tmp_path, measured):
    squeeze()[0].train()
    squeeze('more', sources=('birds',), load_from=str(tmp_path / 'squeeze' / 'iter_2.pth'))[0].train()
    assert len(measured) == 2


def test_other_data_is_measured_again(squeeze, tmp_path, measured):
    squeeze()[0].train()
    sources, path = validated_sources('birds', 'cars'), str(tmp_path / 'squeeze' / 'iter_2.pth')
    sources['birds']['val_dataloader']['dataset']['length'] = 4
    squeeze('other', load_from=path, **validation(sources))[0].train()
    assert len(measured) == 2
    before, now = (read_checkpoint(str(tmp_path / name))['meta']['xlearner_fidelity'] for name in ('squeeze', 'other'))
    assert now['metrics']['birds'] != before['metrics']['birds']


def test_fidelity_on_test_images_compares_with_the_branches_on_them(squeeze, measured):
    sources = validated_sources('birds', 'cars')
    sources['birds']['val_dataloader']['dataset']['seed'] = 5
    runner, _ = squeeze(
        test_cfg=dict(type='MultiSourceTestLoop'),
        test_dataloader=dict(sources=sources),
        test_evaluator=dict(type='MultiSourceEvaluator', sources=sources),
    )
    runner.train()
    runner.test()
    assert len(measured) == 2


@pytest.mark.parametrize('wanted', ['sources/fidelity', 'boxes/fidelity'])
def test_save_best_by_an_unknown_fidelity_is_refused(squeeze, wanted):
    hooks = dict(checkpoint=dict(type='CheckpointHook', save_best=wanted, rule='greater', by_epoch=False, interval=2))
    message = rf"save_best: .*{wanted}.*\[\].* save_best='sources/mean'"
    with pytest.raises(ConfigError, match=message):
        squeeze(sources=('boxes',), default_hooks=hooks)[0].train()


@pytest.mark.parametrize(
    ('key', 'said'),
    [
        ('bird/fidelity', r"only \['birds/fidelity', 'sources/fidelity'\]: correct the name"),
        ('boxes/fidelity', "metric is 0: .* monitor='sources/mean'"),
    ],
)
def test_a_stop_by_an_unknown_fidelity_is_refused_with_the_reason(squeeze, key, said):
    stop = dict(type='EarlyStoppingHook', monitor=key, rule='greater')
    with pytest.raises(ConfigError, match=f'monitor: there is no {key}, .*{said}'):
        squeeze(sources=('birds', 'boxes'), custom_hooks=[*HOOKS, stop])[0].train()


def test_a_misspelled_fidelity_to_save_the_best_by_has_the_known_ones(squeeze):
    hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='bird/fidelity', rule='greater', by_epoch=False))
    with pytest.raises(ConfigError, match=r"save_best: there is no bird/fidelity, only \['birds/.*: correct the name"):
        squeeze(default_hooks=hooks)[0].train()


def test_a_source_with_branch_score_0_is_named_and_left_out(squeeze, caplog):
    runner, seen = squeeze(sources=('birds', 'boxes'))
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert 'boxes/fidelity' not in seen[-1]
    assert seen[-1]['sources/fidelity'] == seen[-1]['birds/fidelity']
    assert re.search("source 'boxes': score .*is 0.* boxes/fidelity", caplog.text)


def test_measuring_leaves_random_numbers_and_the_model_as_they_were(squeeze):
    runner, _ = squeeze()
    runner.call_hook('before_run')
    state = {key: value.clone() for key, value in runner.model.state_dict().items()}
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'FidelityHook')
    hook._measure_branches(runner, runner.val_loop)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])
    assert all(torch.equal(state[key], value) for key, value in runner.model.state_dict().items())


def test_measuring_shows_how_far_it_is(squeeze, caplog):
    runner, _ = squeeze(log_level='INFO')
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert "Fidelity: measuring the branches' own metrics, 6 batches" in caplog.text
    assert "Fidelity: branches' own metrics, birds [2/6]  eta: 0:00:0" in caplog.text


def test_a_test_reports_fidelity(squeeze):
    sources = validated_sources('birds', 'cars')
    runner, _ = squeeze(
        test_cfg=dict(type='MultiSourceTestLoop'),
        test_dataloader=dict(sources=sources),
        test_evaluator=dict(type='MultiSourceEvaluator', sources=sources),
    )
    assert runner.test()['sources/fidelity'] > 0


def test_other_models_have_none(squeeze):
    sources = validated_sources('birds')
    model = dict(
        type='ExpansionLearner',
        backbone=dict(
            type='XLearnerExpandedBackbone',
            branches=dict(shared=tiny_resnet()),
            tasks=dict(cls='shared', det='shared', seg='shared'),
            reconciliation=dict(topology='none'),
        ),
        sources=sources,
    )
    with pytest.raises(ConfigError, match='FidelityHook.*FitNetDistiller.*MultiSourceValLoop.*Exp'):
        squeeze(model=model)[0].train()
