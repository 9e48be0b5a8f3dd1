"""Every training of paper scale takes two steps and validates, in reduced size on fixtures of its sources."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from tests.fixtures import write_fixtures
from tests.reduction import reduced, with_teachers
from xlearner_mm.analysis.dry_run import estimate_config
from xlearner_mm.analysis.recipes import GPUS, stock_training
from xlearner_mm.engine import XLearnerRunner
from xlearner_mm.registry import MODELS
from xlearner_mm.sources import with_sources

ROOT = Path(__file__).parents[1] / 'configs'
ONE_GPU = ROOT / 'one_gpu' / 'xlearner_seg_r50_expansion.py'
CONFIGS = [*sorted((ROOT / 'expansion').glob('*.py')), ONE_GPU]
PRUNINGS = sorted((ROOT / 'squeeze').glob('xlearner_p_*.py'))
SQUEEZES = [path for path in sorted((ROOT / 'squeeze').glob('*.py')) if 'teacher_checkpoint' in path.read_text()]
SQUEEZES.append(ROOT / 'one_gpu' / 'xlearner_seg_r50_squeeze.py')


def small(path, work_dir):
    parsed = Config.fromfile(path)
    cfg = Config(parsed.to_dict(), cfg_text=parsed.text, filename=parsed.filename, format_python_code=False)
    if cfg.optim_wrapper.type == 'AmpOptimWrapper':  # which needs a GPU
        cfg.optim_wrapper.type = 'OptimWrapper'
        del cfg.optim_wrapper.loss_scale
    return with_teachers(reduced(cfg, work_dir), work_dir)


@pytest.fixture(scope='module')
def fixtures(tmp_path_factory):
    root = tmp_path_factory.mktemp('fixtures')
    write_fixtures(root / 'data')
    return root


@pytest.mark.slow
@pytest.mark.parametrize('config', CONFIGS, ids=lambda path: path.stem)
def test_a_training_takes_two_steps_and_validates(fixtures, monkeypatch, tmp_path, config):
    monkeypatch.chdir(fixtures)
    cfg = small(config, tmp_path)
    runner = XLearnerRunner.from_cfg(cfg)
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    after = runner.model.state_dict()
    for branch in runner.model.backbone.branches:
        name = f'backbone.branches.{branch}.backbone.layer4.2.conv3.weight'
        assert not before[name].equal(after[name]), f'branch {branch} learned nothing'
    scalars = runner.message_hub.log_scalars
    assert math.isfinite(scalars['train/loss'].current())
    for source in cfg.sources:
        assert any(key.startswith(f'train/{source}.loss') or f'train/{source}.decode.loss' in key for key in scalars)
    assert 'val/sources/mean' in scalars
    assert not without_gradient(runner), 'DDP refuses parameters that take no gradient'


@pytest.mark.slow
@pytest.mark.parametrize('config', SQUEEZES, ids=lambda path: path.stem)
def test_a_squeeze_takes_two_steps_and_validates(fixtures, monkeypatch, tmp_path, config):
    monkeypatch.chdir(fixtures)
    cfg = small(config, tmp_path)
    runner = XLearnerRunner.from_cfg(cfg)
    before = {name: value.clone() for name, value in runner.model.student.state_dict().items()}
    runner.train()
    assert not before['layer4.2.conv3.weight'].equal(runner.model.student.layer4[2].conv3.weight)
    scalars = runner.message_hub.log_scalars
    for branch in cfg.model.teacher.model.backbone.branches:
        assert math.isfinite(scalars[f'train/loss_{branch}_3'].current())
    assert 'val/sources/mean' in scalars
    assert not without_gradient(runner), 'DDP refuses parameters that take no gradient'


@pytest.mark.slow
@pytest.mark.parametrize('config', PRUNINGS, ids=lambda path: path.stem)
def test_a_pruning_takes_its_steps_and_validates(fixtures, monkeypatch, tmp_path, config):
    monkeypatch.chdir(fixtures)
    cfg = small(config, tmp_path)
    expansion = MODELS.build(with_sources(cfg)['model'])
    cfg.load_from = str(tmp_path / 'expansion.pth')
    torch.save({'state_dict': expansion.state_dict(), 'meta': {}}, cfg.load_from)
    target = sum(p.numel() for p in expansion.backbone.parameters()) // 2
    cfg.custom_hooks[-1].update(target_params=target, steps=2, interval=1)
    runner = XLearnerRunner.from_cfg(cfg)
    runner.train()
    assert 0.98 * target < sum(p.numel() for p in runner.model.backbone.parameters()) <= target
    assert 'val/sources/mean' in runner.message_hub.log_scalars


@pytest.mark.parametrize('sources', ['base', 'base_cls', 'base_cls_det'])
def test_hard_sharing_has_as_many_steps_as_both_stages(sources):
    stages = ('expansion/hard_sharing_r50_700k', 'expansion/xlearner_r50_500k', 'squeeze/xlearner_r50_200k')
    alone, *both = (Config.fromfile(ROOT / f'{stage}_{sources}.py').train_cfg.max_iters for stage in stages)
    assert alone == sum(both)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_hard_sharing_has_as_many_flops_as_both_stages(monkeypatch, tmp_path):
    """To 1%, by the count of the dry run, on images of the sizes that the sources declare."""
    monkeypatch.chdir(tmp_path)
    stages = ('expansion/hard_sharing_flops_r50_1100k', 'expansion/xlearner_r50_500k', 'squeeze/xlearner_r50_200k')
    found = [estimate_config(Config.fromfile(ROOT / f'{stage}_base.py'), world_size=8) for stage in stages]
    alone, *both = (stage.steps * stage.flops_per_step for stage in found)
    assert alone == pytest.approx(sum(both), rel=0.01)


def without_gradient(runner):
    data = runner.model.data_preprocessor(next(iter(runner.train_dataloader)), training=True)
    loss, _ = runner.model.parse_losses(runner.model(**data, mode='loss'))
    loss.backward()
    return [name for name, parameter in runner.model.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize(
    ('config', 'gpus'),
    [
        ('expansion/xlearner_r50_500k_base_seg.py', GPUS),
        ('expansion/xlearner_pp_r50_500k_base.py', GPUS),
        ('expansion/xlearner_r50_500k_base_cls_det.py', GPUS),
        ('expansion/single_det_r50_500k_base.py', GPUS),
        ('one_gpu/xlearner_seg_r50_expansion.py', 1),
    ],
)
def test_rate_times_decay_is_that_of_each_source_s_and_each_branch_s_stock_recipe(tmp_path, config, gpus):
    cfg = small(ROOT / config, tmp_path)
    sources = Config.fromfile(ROOT / config).sources
    stock_of = {name: stock_training(name, source.batch_size * gpus) for name, source in sources.items()}
    learner = MODELS.build(with_sources(cfg)['model'])
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    wrapper = build_optim_wrapper(learner, cfg.optim_wrapper)
    share = cfg.optim_wrapper.optimizer.lr / 0.1  # of the stock images a step
    shared = {'cls': 0.1 * 1e-4, 'det': 0.02 * 1e-4, 'seg': 0.01 * 5e-4}
    for group in wrapper.optimizer.param_groups:
        for parameter in group['params']:
            part = names[id(parameter)].split('.')
            heads = part[0] in ('networks', 'hints')
            rate, decay = stock_of[part[1]] if heads else (share * shared[branch_of(part)], 1.0)
            assert group['lr'] * group['weight_decay'] == pytest.approx(rate * decay), part


def branch_of(part):
    """Return the branch of backbone.branches.<task>. or backbone.links.<sender>_<level>__<receiver>_<level>."""
    return part[2] if part[1] == 'branches' else part[2].split('__')[1].split('_')[0]
