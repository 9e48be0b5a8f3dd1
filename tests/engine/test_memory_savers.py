"""Settings that save memory do not change the result of a training."""

import torch

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.engine import XLearnerRunner
from xlearner_mm.engine.launch import launch
from xlearner_mm.engine.optim.wrapper import CpuAmpOptimWrapper
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_resnet, tiny_sources

from ..models.expansion.reference import randomise
from .conftest import CONFIGS
from .tiny_runner import tiny_runner


def build(**branch):
    backbone = dict(
        type='XLearnerExpandedBackbone', branches={name: tiny_resnet(**branch) for name in ('cls', 'det', 'seg')}
    )
    learner = MODELS.build(dict(type='ExpansionLearner', backbone=backbone, sources=tiny_sources()))
    learner.init_weights()
    randomise(learner.backbone)
    return learner.train()


def gradients_of(learner):
    losses = learner(**learner.data_preprocessor(tiny_batch(), True), mode='loss')
    learner.parse_losses(losses)[0].backward()
    return {name: p.grad for name, p in learner.named_parameters()}


def test_checkpointed_branches_have_the_same_gradients_and_statistics():
    plain = build()
    checkpointed = build(with_cp=True)
    checkpointed.load_state_dict(plain.state_dict())
    wanted, found = gradients_of(plain), gradients_of(checkpointed)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)
    statistics = checkpointed.state_dict()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(statistics[name], value, msg=name)


def test_modules_that_mmengine_recomputes_end_in_the_same_weights_and_statistics(tmp_path):
    def trained(name, **cfg):
        runner = tiny_runner(tmp_path / name, runner=XLearnerRunner, max_iters=2, cfg=cfg)
        return runner.train().state_dict()

    parts = ['backbone.branches.cls.backbone.layer1', 'backbone.branches.det.backbone.layer2.0']
    plain, recomputed = trained('plain'), trained('recomputed', activation_checkpointing=parts)
    assert recomputed.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(recomputed[name], value, msg=name)


def test_mixed_precision_trains_the_same_way():
    learner = build()
    wrapper = CpuAmpOptimWrapper(torch.optim.AdamW(learner.parameters(), lr=3e-3))
    seen = set()
    for module in learner.backbone.links.values():
        module.register_forward_hook(lambda module, inputs, brought: seen.add(brought.dtype))
    first = learner.train_step(tiny_batch(), wrapper)['loss']
    for _ in range(8):
        last = learner.train_step(tiny_batch(), wrapper)['loss']
    assert last < 0.8 * first
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in learner.parameters()} == {torch.float32}


def test_the_command_lines_amp_trains_on_a_cpu_and_ends_in_a_sound_checkpoint(inside):
    short = [
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=100',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
    ]
    assert launch('train', str(CONFIGS / 'xlearner_seg_r18_expansion.py'), 'work_dirs/amp', short, amp=True) == 0
    state = read_checkpoint('work_dirs/amp')['state_dict']
    assert all(torch.isfinite(value).all() for value in state.values())
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}
