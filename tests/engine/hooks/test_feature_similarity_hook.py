from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import LoggerHook

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.engine.hooks.feature_similarity_hook import FeatureSimilarityHook
from xlearner_mm.errors import ConfigError
from xlearner_mm.evaluation import LinearCKA
from xlearner_mm.registry import MODELS
from xlearner_mm.report.results import read_results
from xlearner_mm.testing import tiny_expanded, tiny_resnet

from ...models.expansion.reference import randomise
from ..tiny_runner import image_sources, tiny_runner

HOOK = dict(type='FeatureSimilarityHook', interval=2, images=5)
NAMES = [f'{branch}_{level}' for branch in ('cls', 'det', 'seg') for level in range(4)]


def validated_sources():
    sources = image_sources()
    for source in sources.values():
        source['val_evaluator'] = dict(type='mmpretrain.Accuracy')
        source['val_dataloader'] = dict(
            batch_size=2, num_workers=0, dataset=source['dataset'], sampler=dict(type='DefaultSampler', shuffle=False)
        )
    return sources


@pytest.fixture
def squeeze(tmp_path):
    """A runner of the squeeze stage that never comes to validate, but could."""

    def build(name='squeeze', hooks=(HOOK,), topology='lower', start_from=None, validated=True, **kwargs):
        backbone = tiny_expanded(reconciliation=dict(topology=topology))
        learner_cfg = dict(type='ExpansionLearner', backbone=backbone, sources=image_sources())
        torch.manual_seed(0)
        learner = MODELS.build(learner_cfg)
        learner.init_weights()
        randomise(learner.backbone)
        torch.save(dict(state_dict=learner.state_dict()), tmp_path / 'expansion.pth')
        model = dict(
            type='FitNetDistiller',
            teacher=dict(model=learner_cfg, checkpoint=str(tmp_path / 'expansion.pth')),
            student=tiny_resnet(),
            start_from=start_from,
        )
        validation = dict(
            val_dataloader=dict(sources=validated_sources()),
            val_evaluator=dict(type='MultiSourceEvaluator', sources=validated_sources()),
            val_cfg=dict(type='MultiSourceValLoop'),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=kwargs.pop('max_iters', 4), val_begin=1000),
        )
        return tiny_runner(tmp_path / name, hooks, model=model, **(validation if validated else {}), **kwargs)

    return build


def similarities(folder):
    curves = read_results(folder).curves
    return {key.removeprefix('similarity/'): curve for key, curve in curves.items() if key.startswith('similarity/')}


def values(runner):
    hook = next(hook for hook in runner.hooks if isinstance(hook, FeatureSimilarityHook))
    return hook.measure(runner.model, runner.val_loop.dataloaders)


def test_every_branch_and_level_is_logged(squeeze, tmp_path):
    squeeze().train()
    found = similarities(tmp_path / 'squeeze')
    assert list(found) == NAMES
    assert all([step for step, _ in curve] == [2, 4] for curve in found.values())
    assert found['cls_0'][0][1] != found['cls_0'][1][1], 'the student learns'


def test_similarity_is_the_cka_of_all_positions_of_all_sources_images(squeeze):
    runner = squeeze()
    measured = values(runner)
    model, pairs = runner.model.eval(), {name: [] for name in NAMES}
    for source, loader in runner.val_loop.dataloaders.items():
        # 5 of 8, the first and the last among them
        batch = loader.collate_fn([loader.dataset[i] for i in (0, 2, 4, 5, 7)])
        images = model.data_preprocessor({source: batch})['inputs'][source]
        student = model.student(images)
        for branch, levels in model.teacher.features(images).items():
            for level in range(4):
                every = 2 if level == 0 else 1  # level 0 has 16 x 16 positions: 8 x 8 of them
                maps = (levels[level], student[level])
                pairs[f'{branch}_{level}'].append(
                    [m[..., every - 1 :: every, every - 1 :: every].permute(0, 2, 3, 1).flatten(0, 2) for m in maps]
                )
    for name, parts in pairs.items():
        cka = LinearCKA()
        cka.update(*(torch.cat(side) for side in zip(*parts, strict=True)))
        assert measured[name] == pytest.approx(cka.compute(), abs=1e-6)


def test_a_student_equal_to_a_branch_has_similarity_1_with_it(squeeze):
    runner = squeeze(topology='none', start_from='det')
    runner.model.init_weights()
    measured = values(runner)
    assert [measured[f'det_{level}'] for level in range(4)] == pytest.approx([1] * 4, abs=1e-4)
    assert max(measured[f'cls_{level}'] for level in range(4)) < 0.95


def test_the_training_is_the_same_with_it_and_without(squeeze, tmp_path):
    squeeze('with').train()
    squeeze('without', hooks=()).train()
    one, other = (read_checkpoint(str(tmp_path / name))['state_dict'] for name in ('with', 'without'))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_resumed_training_measures_the_same(squeeze, tmp_path):
    squeeze('straight').train()
    squeeze('resumed', max_iters=2).train()
    squeeze('resumed', resume=True).train()
    assert similarities(tmp_path / 'resumed') == similarities(tmp_path / 'straight')


def test_a_resumed_training_does_not_log_earlier_measurements(squeeze, tmp_path):
    hook = dict(HOOK, interval=4)
    squeeze('resumed', hooks=[hook], max_iters=4).train()
    squeeze('resumed', hooks=[hook], max_iters=8, resume=True).train()
    assert [step for step, _ in similarities(tmp_path / 'resumed')['seg_3']] == [4, 8]


def test_only_current_measurements_are_logged(squeeze, tmp_path):
    squeeze(hooks=[dict(HOOK, interval=3)], max_iters=10).train()
    # the logger writes at every second step: the third and sixth are rounded up
    assert [step for step, _ in similarities(tmp_path / 'squeeze')['seg_3']] == [4, 8]


@pytest.mark.parametrize(('max_iters', 'line', 'steps'), [(450, 10, 10), (500_000, 50, 10_000), (20, 10, 10)])
def test_about_fifty_measurements_by_default(max_iters, line, steps):
    hook = FeatureSimilarityHook()
    runner = SimpleNamespace(hooks=[LoggerHook(interval=line)], max_iters=max_iters, iter=0)
    measured = []
    for runner.iter in range(steps * 2):
        measured += [runner.iter + 1] if hook._is_measured(runner) else []
    assert measured == [steps, 2 * steps]


def test_without_validation_images_there_is_an_error(squeeze):
    with pytest.raises(ConfigError, match=r'FeatureSimilarityHook.* validation images.* val_dataloader'):
        squeeze(validated=False).train()


def test_no_similarity_in_the_expansion_stage(tmp_path):
    runner = tiny_runner(tmp_path, [HOOK], max_iters=2)
    runner.train()
    assert similarities(tmp_path) == {}
