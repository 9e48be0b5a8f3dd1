"""X-Learner_p as a training: pruned in steps while it trains on, stopped and resumed at any step."""

import pytest
import torch
from mmengine.runner import Runner

from xlearner_mm.checkpoint import sha256_of
from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.export.stored_backbone import find_backbone
from xlearner_mm.models.squeeze.pruning import CRITERIA, build_criterion
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded

from ..ranks import WRAPPERS, run_ranks
from ..tiny_runner import image_sources, tiny_runner
from ..tiny_squeeze import validated_sources

TARGET = 75_000  # of 150,156; 44,772 are one branch


def model(**backbone):
    return dict(type='ExpansionLearner', backbone=tiny_expanded(**backbone), sources=image_sources())


def pruning(**kwargs):
    return dict(type='PruningHook', **{**dict(interval=2, steps=2, target_params=TARGET), **kwargs})


@pytest.fixture(scope='module', autouse=True)
def expansion(tmp_path_factory):
    """Return a checkpoint of the expansion stage."""
    path = tmp_path_factory.mktemp('expansion') / 'iter_9.pth'
    torch.manual_seed(0)
    learner = MODELS.build(model())
    learner.init_weights()
    torch.save({'state_dict': learner.state_dict(), 'meta': {}}, path)
    EXPANSION['load_from'] = str(path)
    return path


EXPANSION = {}


def saving(interval):
    return dict(
        logger=dict(type='LoggerHook', interval=1),
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=interval),
    )


def runner(work_dir, hook=None, max_iters=6, hooks=({'type': 'StageMetaHook'},), **kwargs):
    settings = dict(
        model=model(),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        default_hooks=saving(3),
    )
    return tiny_runner(
        work_dir,
        hooks=[*hooks, hook or pruning()],
        max_iters=max_iters,
        **{'runner': XLearnerRunner, **settings, **EXPANSION, **kwargs},
    )


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    """Six steps without a stop, pruned after the second and the fourth; a checkpoint after the third."""
    work_dir = tmp_path_factory.mktemp('straight')
    return work_dir, trained(work_dir)


def trained(work_dir, *args, **kwargs):
    run = runner(work_dir, *args, **kwargs)
    run.train()
    return run


def read(work_dir, iteration):
    return torch.load(work_dir / f'iter_{iteration}.pth', weights_only=False)


def params(backbone):
    return sum(parameter.numel() for parameter in backbone.parameters())


def test_pruning_reaches_its_target_in_steps_before_further_training(straight):
    work_dir, run = straight
    midway, end = (read(work_dir, iteration)['meta']['xlearner']['sizes'] for iteration in (3, 6))
    full = midway['expanded']['params']
    assert midway['pruned']['params'] == pytest.approx(full - (full - TARGET) / 2, rel=0.01)
    assert end['pruned']['params'] == pytest.approx(TARGET, rel=0.01)
    assert params(run.model.backbone) == end['pruned']['params'] <= TARGET
    assert end['plain XLearnerResNet as branch cls']['params'] == 44_772


def test_a_pruned_checkpoint_records_how_to_build_its_backbone(straight):
    work_dir, run = straight
    record = read(work_dir, 6)['meta']['xlearner']['backbone']
    again = MODELS.build({**record, 'init_cfg': dict(type='Pretrained', checkpoint=str(work_dir / 'iter_6.pth'))})
    again.init_weights()
    image, backbone = torch.randn(2, 3, 64, 64), run.model.eval().backbone
    side_by_side = zip(*(backbone.forward_task(image, task) for task in ('cls', 'det', 'seg')), strict=True)
    for mine, theirs in zip(again.eval()(image), side_by_side, strict=True):
        assert torch.equal(mine, torch.cat(theirs, dim=1))


@pytest.mark.parametrize('criterion', ['GroupMagnitudeImportance', 'GroupTaylorImportance'])
def test_interrupted_and_resumed_training_is_bit_identical(criterion, straight, tmp_path):
    work_dir = straight[0] if criterion == 'GroupMagnitudeImportance' else tmp_path / 'straight'
    if criterion != 'GroupMagnitudeImportance':
        trained(work_dir, pruning(criterion=dict(type=criterion)))
    stopped = str(work_dir / 'iter_3.pth')
    trained(tmp_path / 'resumed', pruning(criterion=dict(type=criterion)), load_from=stopped, resume=True)
    wanted, found = read(work_dir, 6), read(tmp_path / 'resumed', 6)
    assert wanted['meta']['xlearner'] == found['meta']['xlearner']
    assert wanted['state_dict'].keys() == found['state_dict'].keys()
    assert all(torch.equal(value, found['state_dict'][key]) for key, value in wanted['state_dict'].items())
    for index, state in wanted['optimizer']['state'].items():
        assert all(torch.equal(value, found['optimizer']['state'][index][key]) for key, value in state.items())


def optim(wrapper='OptimWrapper', **kwargs):
    return dict(type=wrapper, optimizer=dict(type='AdamW', lr=0.01), **kwargs)


def test_gradients_are_those_of_the_last_update_where_a_step_falls_between_two(tmp_path):
    taylor = pruning(criterion=dict(type='GroupTaylorImportance'), steps=1, interval=3)
    run = trained(tmp_path, taylor, optim_wrapper=optim(accumulative_counts=2), default_hooks=saving(2))
    assert params(run.model.backbone) <= TARGET


def test_a_gradient_criterion_without_gradients_is_an_error(tmp_path):
    taylor = pruning(criterion=dict(type='GroupTaylorImportance'), steps=1, interval=3)
    with pytest.raises(ConfigError, match=r"'GroupTaylorImportance' reads gradients, .* accumulative_counts"):
        trained(tmp_path, taylor, optim_wrapper=optim(accumulative_counts=50), default_hooks=saving(50))


@pytest.mark.parametrize('criterion', ['GroupMagnitudeImportance', 'GroupTaylorImportance'])
def test_pruning_reaches_its_target_in_mixed_precision(criterion, tmp_path):
    run = trained(tmp_path, pruning(criterion=dict(type=criterion)), optim_wrapper=optim('CpuAmpOptimWrapper'))
    assert params(run.model.backbone) == pytest.approx(TARGET, rel=0.01)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in run.model.parameters())


def test_a_pruned_checkpoint_is_tested_without_the_data_of_its_training(straight, tmp_path):
    sources = validated_sources('birds')
    run = runner(
        tmp_path,
        load_from=str(straight[0] / 'iter_6.pth'),
        train_dataloader=dict(batch_size=8, dataset=dict(type='GoneDataset')),
        test_cfg=dict(type='MultiSourceTestLoop'),
        test_dataloader=dict(sources=sources),
        test_evaluator=dict(type='MultiSourceEvaluator', sources=sources),
    )
    assert run.test()['birds/score'] > 0
    assert run.model.backbone.widths == straight[1].model.backbone.widths


def test_a_pruned_checkpoint_needs_a_config_with_its_widths(straight, tmp_path):
    path = str(straight[0] / 'iter_6.pth')
    with pytest.raises(CheckpointError, match=r'load_from: .*iter_6.pth.* backbone.* more differ'):
        trained(tmp_path / 'full', hook=dict(type='SourceEpochHook'), load_from=path)
    narrow = model(widths=straight[1].model.backbone.widths)
    trained(tmp_path / 'narrow', hook=dict(type='SourceEpochHook'), load_from=path, model=narrow, max_iters=1)


def test_pruning_a_randomly_initialized_backbone_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='random.*load_from.*expansion'):
        trained(tmp_path, load_from=None)


def test_initialization_of_branches_from_files_is_recorded(tmp_path):
    backbone = tiny_expanded()
    for name, branch in backbone['branches'].items():
        torch.save(MODELS.build(branch).state_dict(), tmp_path / f'{name}.pth')
        branch['init_cfg'] = dict(type='Pretrained', checkpoint=str(tmp_path / f'{name}.pth'))
    learner = dict(type='ExpansionLearner', backbone=backbone, sources=image_sources())
    run = trained(tmp_path / 'work', model=learner, load_from=None)
    assert params(run.model.backbone) <= TARGET


def test_pruning_is_recorded_with_its_initial_checkpoint(straight, expansion, tmp_path):
    path = str(straight[0] / 'iter_6.pth')
    record = read(straight[0], 6)['meta']['xlearner']
    assert record['stage'] == 'pruning'
    assert record['pruned_from'] == {'checkpoint': str(expansion), 'sha256': sha256_of(str(expansion))}
    exported = find_backbone(path, expanded=True).meta
    assert exported['stage'] == 'pruning'
    assert exported['sizes'] == record['sizes']
    assert exported['pruned_from'] == {'checkpoint': 'iter_9.pth', 'sha256': sha256_of(str(expansion))}


def test_momentum_of_kept_channels_is_kept(tmp_path):
    run = runner(tmp_path, pruning(steps=1), max_iters=2)
    prune = next(hook for hook in run.hooks if type(hook).__name__ == 'PruningHook')
    take_step, before = prune.after_train_iter, {}

    def watched(runner, *args, **kwargs):
        state = runner.optim_wrapper.optimizer.state
        for parameter in runner.model.backbone.parameters():
            before[parameter] = parameter.shape
            state[parameter]['exp_avg'] = 2 * parameter.detach()
        take_step(runner, *args, **kwargs)

    prune.after_train_iter = watched
    run.train()
    state = run.optim_wrapper.optimizer.state
    now = list(run.model.backbone.parameters())
    assert set(now) == set(before), 'optimizers and hooks know parameters by identity'
    assert any(parameter.shape != before[parameter] for parameter in now)
    assert all(torch.equal(state[parameter]['exp_avg'], 2 * parameter) for parameter in now)


@pytest.mark.parametrize('wrapper', WRAPPERS, ids=['by branch', 'joint'])
def test_all_processes_prune_the_same(tmp_path, wrapper):
    def train(rank):
        run = trained(
            tmp_path / 'two',
            pruning(criterion=dict(type='GroupTaylorImportance')),
            launcher='pytorch',
            cfg=dict(model_wrapper_cfg=wrapper),
            env_cfg=dict(dist_cfg=dict(backend='gloo')),
        )
        return run.model.module.state_dict(), run.model.module.backbone.widths

    (first, widths), (second, other_widths) = run_ranks(train, tmp_path / 'ranks')
    assert widths == other_widths
    assert widths
    of_parameters = {key for key in first if 'running' not in key and 'num_batches' not in key}
    assert all(torch.equal(first[key], second[key]) for key in of_parameters)


@pytest.mark.parametrize(
    ('hook', 'kwargs', 'message'),
    [
        (dict(target_params=1000), {}, r'target_params=1000 is below what pruning inner widths can reach, \d+'),
        (dict(target_params=2e5), {}, 'target_params=2e.05 is not below the 1.502e.05'),
        (dict(steps=4), {}, 'the last of 4 steps is at iteration 8, beyond max_iters=6'),
        ({}, dict(hooks=(), runner=Runner), 'add StageMetaHook to custom_hooks'),
        ({}, dict(hooks=({'type': 'StageMetaHook'}, {'type': 'EMAHook'})), 'remove EMAHook'),
    ],
)
def test_invalid_combinations_are_refused_at_the_start(hook, kwargs, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        runner(tmp_path, pruning(**hook), **kwargs).train()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            dict(criterion=dict(type='FPGMImportanc')),
            "'FPGMImportanc'; did you mean 'FPGMImportance'",
        ),
        (dict(target_flops=1e6), 'give either target_params or target_flops'),
        (dict(target_params=None), 'give either target_params or target_flops'),
        (dict(interval=0), 'interval=0 must be a whole number and at least 1'),
        (dict(steps=0), 'steps=0 must be a whole number and at least 1'),
        (dict(steps=1.5), r'steps=1\.5 must be a whole number'),
        (dict(keep=-1.0), r'keep=-1\.0 must be a share from 0 to below 1'),
        (dict(keep=1.0), r'keep=1\.0 must be a share'),
        (dict(target_params='23M'), "target_params='23M' must be a number above 0"),
        (dict(target_params=float('nan')), 'target_params=nan must be a number'),
        (dict(input_size=64), r'input_size=64 must be height and width, as in \(224, 224\)'),
    ],
)
def test_invalid_settings_are_refused_at_build(change, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        runner(tmp_path, pruning(**change))


def test_criteria_are_the_librarys():
    assert {type(build_criterion(dict(type=name))).__module__.split('.')[0] for name in CRITERIA} == {'torch_pruning'}
