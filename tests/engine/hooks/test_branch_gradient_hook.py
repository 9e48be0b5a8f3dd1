import pytest
import torch

from xlearner_mm.engine.hooks.branch_gradient_hook import gradient_norm

from ..tiny_runner import logged, tiny_runner

HOOK = dict(type='BranchGradientHook')


def test_the_norm_is_that_of_all_gradients_together():
    layer = torch.nn.Linear(2, 2)
    layer.weight.grad, layer.bias.grad = torch.full((2, 2), 1.0), torch.tensor([2.0, 0.0])
    assert gradient_norm(list(layer.parameters())) == pytest.approx(8**0.5)


def test_no_gradient_is_0():
    assert gradient_norm(list(torch.nn.Linear(2, 2).parameters())) == 0


def test_every_branch_is_logged_where_the_logger_writes(tmp_path):
    runner = tiny_runner(tmp_path, [HOOK], max_iters=5)
    runner.train()
    for branch in ('cls', 'det', 'seg'):
        norms = logged(runner)[f'gradient/{branch}']
        assert len(norms) == 2
        assert all(norm > 0 for norm in norms)


def test_the_logged_norm_is_that_of_the_applied_gradient(tmp_path):
    """Plain SGD moves a branch by its learning rate times the gradient: after clipping."""
    optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.5), clip_grad=dict(max_norm=0.1))
    runner = tiny_runner(tmp_path, [HOOK], max_iters=1, interval=1, optim_wrapper=optim_wrapper)
    before = [p.detach().clone() for p in runner.model.backbone.branches['det'].parameters()]
    runner.model.init_weights = lambda: None
    runner.train()
    after = runner.model.backbone.branches['det'].parameters()
    moved = torch.cat([(a.detach() - b).flatten() for a, b in zip(after, before, strict=True)]).norm()
    assert logged(runner)['gradient/det'] == [pytest.approx(float(moved) / 0.5, rel=1e-3)]


def test_the_optimizer_is_left_as_it_was(tmp_path):
    runner = tiny_runner(tmp_path, [HOOK], max_iters=1)
    runner.train()
    assert not runner.optim_wrapper.optimizer._optimizer_step_pre_hooks
