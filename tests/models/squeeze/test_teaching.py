"""Images and depth of each teacher's passes: none is wasted, and results do not change."""

import pytest
import torch

from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_resnet_ending_at

from ..expansion.test_expanded_backbone import stages_run


def inputs_of(distiller):
    return distiller.data_preprocessor(tiny_batch(), True)['inputs']


@pytest.mark.parametrize('levels', [(0, 1, 2, 3), (1,), (0, 2)])
def test_a_branch_shows_the_same_features_of_its_own_images_as_of_all(build, levels):
    settings = dict(levels=levels, student=tiny_resnet_ending_at(max(levels)))
    own, everything = build(supervise='own', **settings), build(**settings)
    inputs = inputs_of(build())
    images, owners = torch.cat(list(inputs.values())), [name for name in inputs for _ in range(2)]
    branch_of = dict(birds='cls', cars='cls', boxes='det', masks='seg')
    whole = everything.teach(images, owners)
    for branch, shown in own.teach(images, owners).items():
        mine = [row for row, owner in enumerate(owners) if branch_of[owner] == branch]
        assert shown.rows.tolist() == mine
        assert shown.owners == [owners[row] for row in mine]
        for level in levels:
            torch.testing.assert_close(shown.features[level], whole[branch].features[level][mine])


def test_a_branch_that_owns_none_of_the_images_is_left_out(build):
    shown = build(supervise='own').teach(torch.randn(2, 3, 64, 64), ['boxes', 'boxes'])
    assert set(shown) == {'det'}


@pytest.mark.parametrize('supervise', ['all', 'own'])
def test_stages_that_nothing_compares_are_not_run(build, supervise):
    distiller = build(supervise=supervise, levels=(1,), student=tiny_resnet_ending_at(1))
    backbone = distiller.teacher.learner.backbone
    ran = stages_run(backbone, lambda: distiller(inputs_of(distiller), mode='loss'))
    assert ran == {(branch, level) for branch in ('cls', 'det', 'seg') for level in (0, 1)}


def test_unlinked_branches_run_on_their_own_images_only(build, learner_cfg, tmp_path):
    cfg = dict(learner_cfg, backbone=tiny_expanded(reconciliation=dict(topology='none')))
    torch.save(dict(state_dict=MODELS.build(cfg).state_dict()), tmp_path / 'unlinked.pth')
    distiller = build(supervise='own', teacher=dict(model=cfg, checkpoint=str(tmp_path / 'unlinked.pth')))
    seen = {}
    for name, branch in distiller.teacher.learner.backbone.branches.items():
        branch.stage(0).register_forward_hook(lambda _, args, __, name=name: seen.update({name: len(args[0])}))
    distiller(inputs_of(distiller), mode='loss')
    assert seen == dict(cls=4, det=2, seg=2)


@pytest.mark.parametrize('source', ['birds', 'boxes'])
def test_heads_that_read_distilled_levels_alone_need_no_branch(build, source):
    distiller = build(levels=(0, 1, 2, 3) if source == 'boxes' else (3,)).eval()
    backbone = distiller.teacher.learner.backbone
    batch = {source: tiny_batch()[source]}
    assert stages_run(backbone, lambda: distiller.val_step(batch)) == set()
