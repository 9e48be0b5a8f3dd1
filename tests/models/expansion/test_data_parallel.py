"""Two processes whose gradients are averaged branch by branch do what one does with twice the batch."""

import copy
from functools import partial

import pytest
import torch
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import nn

from xlearner_mm.engine.optim.wrapper import CpuAmpOptimWrapper
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.expansion import BranchDataParallel
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.testing import tiny_batch, tiny_sources

from ...engine.ranks import run_ranks
from ...engine.test_distributed import assert_same_step, freeze_norms, share
from .test_backward import build


def wrapped(model, bucket_cap_mb=0.05):
    """In buckets of which a branch has several."""
    return BranchDataParallel(model, bucket_cap_mb)


def plain_ddp(model):
    return MMDistributedDataParallel(model, broadcast_buffers=False)


def trained(learner, batches, wrap=lambda model: model, wrapper=OptimWrapper, frozen_norms=True, **settings):
    """Train a copy; return its state, and the values that were logged last."""
    model = copy.deepcopy(learner)
    model = freeze_norms(model) if frozen_norms else model
    optimizer = wrapper(torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1), **settings)
    model = wrap(model)
    for batch in batches:
        values = model.train_step(copy.deepcopy(batch), optimizer)
    return unwrapped(model).state_dict(), {name: value.detach() for name, value in values.items()}


def on_two(learner, batches, folder, **settings):
    return run_ranks(lambda rank: trained(learner, [share(batch, rank) for batch in batches], **settings), folder)


def whole_batches(count):
    """Detection images are the same on both ranks: RetinaNet divides by the positives of its own."""
    batches = [tiny_batch(4, seed=seed) for seed in range(count)]
    for batch in batches:
        batch['boxes'] = {key: value[:2] * 2 for key, value in batch['boxes'].items()}
    return batches


@pytest.mark.parametrize('steps', [1, 2])
def test_gradients_of_two_processes_are_those_of_one(tmp_path, steps):
    learner, batches = build(tiny_sources()), whole_batches(steps)
    (first, values), (second, _) = on_two(learner, batches, tmp_path / 'ranks', wrap=wrapped)
    alone, values_alone = trained(learner, batches)
    assert list(values) == list(values_alone)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert_same_step(first, alone, learner.state_dict())


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(frozen_norms=False),
        dict(accumulative_counts=2),
        dict(wrapper=CpuAmpOptimWrapper),
        dict(clip_grad=dict(max_norm=0.5)),
    ],
    ids=['plain', 'batch statistics', 'accumulated', 'bfloat16', 'clipped'],
)
def test_it_is_bitwise_what_ddp_makes_of_one_backward_pass(tmp_path, settings):
    learner, batches = build(), whole_batches(2)
    found, _ = on_two(learner, batches, tmp_path / 'by_branch', wrap=wrapped, **settings)
    wanted, _ = on_two(learner, batches, tmp_path / 'joint', wrap=plain_ddp, **settings)
    assert any(not torch.equal(value, learner.state_dict()[name]) for name, value in wanted[0].items())
    for state, other in zip(found, wanted, strict=True):
        for name, value in other.items():
            assert torch.equal(state[name], value), name
    assert list(found[1]) == list(wanted[1])


def test_accumulated_steps_exchange_gradients_once(tmp_path):
    learner, batches = build(), whole_batches(2)

    def messages(rank):
        sent = []

        class Watched(BranchDataParallel):
            def reduce(self, branch):
                sent.append(branch)
                super().reduce(branch)

            def finish(self):
                sent.append('finish')
                super().finish()

        model = freeze_norms(copy.deepcopy(learner))
        optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2)
        parallel = Watched(model)
        for step, batch in enumerate(batches):
            sent.append(step)
            parallel.train_step(share(batch, rank), optimizer)
        return sent

    for sent in run_ranks(messages, tmp_path / 'ranks'):
        assert sent == [0, 1, *learner.backbone.branches, 'finish']


def test_it_starts_with_parameters_and_buffers_of_the_first_process(tmp_path):
    learner = build()

    def start(rank):
        own = copy.deepcopy(learner)
        with torch.no_grad():
            for tensor in (*own.parameters(), *(b for b in own.buffers() if b.is_floating_point())):
                tensor += rank
        return BranchDataParallel(own).module.state_dict()

    for state in run_ranks(start, tmp_path / 'ranks'):
        for name, value in learner.state_dict().items():
            assert torch.equal(state[name], value), name


def test_parameters_without_a_gradient_stay_as_in_one_process(tmp_path):
    """Parameters that no process uses have no gradient (zeros would decay them); those that one uses are averaged."""
    learner = build()
    learner.idle, learner.odd = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))

    def wrap_as(rank, model):
        if rank == 1:  # the other process does not use it
            model.networks['birds'].head.register_forward_pre_hook(lambda _, args: (add_odd(model, args[0]),))
        return wrapped(model)

    def train(rank):
        return trained(learner, [tiny_batch()], wrap=partial(wrap_as, rank))[0]

    first, second = run_ranks(train, tmp_path / 'ranks')
    assert torch.equal(first['idle'], learner.idle)
    assert not torch.equal(first['odd'], learner.odd)
    assert all(torch.equal(first[name], second[name]) for name in first)


def add_odd(learner, features):
    return tuple(feature + learner.odd.sum() * feature.mean() for feature in features)


def test_it_is_a_model_wrapper_that_validates_as_its_model(tmp_path):
    learner = build()

    def work(rank):
        parallel = BranchDataParallel(copy.deepcopy(learner)).eval()
        batch = {'birds': tiny_batch()['birds']}
        scores = [
            [sample.pred_score for sample in run(copy.deepcopy(batch))]
            for run in (parallel.val_step, parallel.test_step, parallel.module.val_step)
        ]
        assert is_model_wrapper(parallel)
        return all(torch.equal(torch.stack(scores[0]), torch.stack(other)) for other in scores[1:])

    assert all(run_ranks(work, tmp_path / 'ranks'))


@pytest.mark.parametrize('model', [partial(build, backward='joint'), lambda: nn.Linear(1, 1)])
def test_other_models_are_refused(model):
    with pytest.raises(ConfigError, match="model_wrapper_cfg.*backward='branch'.*MMDistributedDataParallel"):
        BranchDataParallel(model())
