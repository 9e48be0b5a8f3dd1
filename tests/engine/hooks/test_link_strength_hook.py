import pytest
import torch
from mmengine.hooks import Hook

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.testing import tiny_resnet

from ..tiny_runner import image_sources, logged, tiny_runner

HOOK = dict(type='LinkStrengthHook')


class StrengthenLinks(Hook):
    """Links start at zero: give them something to bring."""

    def before_train(self, runner):
        for link in runner.model.backbone.links.values():
            for parameter in link.parameters():
                torch.nn.init.constant_(parameter, 0.1)


def links_of(runner):
    return {name: values for name, values in logged(runner).items() if name.startswith('link/')}


def test_new_links_have_strength_0(tmp_path):
    runner = tiny_runner(tmp_path, [HOOK], max_iters=1, interval=1)
    runner.train()
    # lower: a link from every lower and the same level of two others, to levels 0 to 2 of three branches
    assert len(links_of(runner)) == 3 * 2 * (1 + 2 + 3)
    assert all(values == [0.0] for values in links_of(runner).values())


def test_strength_is_output_relative_to_input(tmp_path):
    runner = tiny_runner(tmp_path, [HOOK], max_iters=1, interval=1)
    runner.model.init_weights = lambda: None
    link = runner.model.backbone.links['det_0__cls_0']
    link.gamma = torch.nn.Conv2d(4, 4, 1, bias=False)
    link.gamma.weight.data = torch.eye(4)[:, :, None, None] / 3
    runner.train()
    assert links_of(runner)['link/det0_to_cls0'] == [pytest.approx(1 / 3, rel=1e-4)]


def test_links_are_watched_in_measured_steps_only(tmp_path):
    watched = []

    class Look(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            watched.append(any(link._forward_hooks for link in runner.model.backbone.links.values()))

    runner = tiny_runner(tmp_path, [HOOK, Look()], max_iters=5)
    runner.train()
    assert watched == [False, True, False, True, True], 'every second step is logged, and the last one is measured'
    assert not any(link._forward_hooks for link in runner.model.backbone.links.values())


def test_pairs_may_be_logged_in_place_of_links(tmp_path):
    runner = tiny_runner(tmp_path, [StrengthenLinks(), dict(HOOK, per_link=False)], max_iters=2)
    runner.train()
    assert len(links_of(runner)) == 6
    assert links_of(runner)['link/det_to_cls'][0] > 0


def test_checkpoints_keep_the_last_strengths_as_plain_data(tmp_path):
    runner = tiny_runner(tmp_path, [StrengthenLinks(), HOOK], max_iters=3)
    runner.train()
    kept = read_checkpoint(str(tmp_path))['meta']['xlearner_links']
    assert kept['step'] == 3
    assert len(kept['links']) == 36
    sender, sender_level, receiver, receiver_level, strength = kept['links'][0]
    assert (sender, sender_level, receiver, receiver_level) == ('det', 0, 'cls', 0)
    assert strength > 0


def test_a_resumed_training_keeps_them(tmp_path):
    tiny_runner(tmp_path, [StrengthenLinks(), HOOK], max_iters=2).train()
    kept = read_checkpoint(str(tmp_path))['meta']['xlearner_links']
    runner = tiny_runner(tmp_path, [HOOK], max_iters=2, resume=True)
    runner.train()
    checkpoint = dict(meta={})
    runner.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    assert checkpoint['meta']['xlearner_links'] == kept


def test_without_links_nothing_is_measured(tmp_path):
    backbone = dict(
        type='XLearnerExpandedBackbone',
        branches=dict(shared=tiny_resnet()),
        tasks=dict(cls='shared', det='shared', seg='shared'),
        reconciliation=dict(topology='none'),
    )
    model = dict(type='ExpansionLearner', backbone=backbone, sources=image_sources())
    runner = tiny_runner(tmp_path, [HOOK], model=model, max_iters=2)
    runner.train()
    assert links_of(runner) == {}
    assert 'xlearner_links' not in read_checkpoint(str(tmp_path))['meta']
