"""A loss weight is no learning rate where the optimizer divides it out."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from xlearner_mm.engine.optim.loss_weights import refuse_weights_without_effect
from xlearner_mm.errors import SourceError
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_sources

from ..tiny_runner import image_sources, tiny_runner

ADAMW = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
SGD = dict(type='SGD', lr=0.1, momentum=0.9)


def checked(optimizer, backbone=None, own=(), **weights):
    sources = tiny_sources()
    for name, weight in weights.items():
        sources[name]['loss_weight'] = weight
    model = MODELS.build(dict(type='ExpansionLearner', backbone=backbone or tiny_expanded(), sources=sources))
    settings = dict(constructor='PerBranchOptimWrapperConstructor', optimizer=optimizer, **dict(own))
    refuse_weights_without_effect(model, build_optim_wrapper(model, settings))


@pytest.mark.parametrize('kind', ['Adam', 'AdamW', 'NAdam', 'RMSprop', 'Adagrad'])
def test_the_weight_of_a_branch_s_only_source_is_refused(kind):
    with pytest.raises(SourceError, match=rf"'boxes': loss_weight=0.2 .*only source.*'det'.*{kind}.*det=dict"):
        checked(dict(type=kind, lr=0.0), boxes=0.2)


def test_the_same_weight_of_all_sources_of_a_branch_is_refused():
    with pytest.raises(SourceError, match="'birds', 'cars'.*loss_weight=3.*all sources.*'cls'"):
        checked(ADAMW, birds=3, cars=3)


@pytest.mark.parametrize(
    ('optimizer', 'settings'),
    [
        (SGD, dict(boxes=0.2)),  # a rate
        (ADAMW, dict(birds=0.5)),  # one source beside the other
        (ADAMW, dict(boxes=0)),  # a source that only shows its images
        (ADAMW, dict(boxes=0.2, own=dict(det=dict(optimizer=SGD)))),
        (ADAMW, dict(boxes=0.2, backbone=tiny_expanded(reconciliation=dict(detach=False)))),
        (ADAMW, dict(boxes=0.2, backbone=tiny_expanded('one', tasks=dict(cls='one', det='one', seg='one')))),
    ],
)
def test_a_loss_weight_with_an_effect_is_accepted(optimizer, settings):
    checked(optimizer, **settings)


def test_loss_weights_without_effect_are_refused_before_the_first_step(tmp_path):
    sources = image_sources()
    sources['masks']['loss_weight'] = 0.1
    model = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=sources)
    runner = tiny_runner(tmp_path, [dict(type='MultiSourceCheckHook')], model, optim_wrapper=dict(optimizer=ADAMW))
    with pytest.raises(SourceError, match="'masks': loss_weight=0.1"):
        runner.train()
    assert runner.iter == 0
    assert all(torch.isfinite(parameter).all() for parameter in runner.model.parameters())
