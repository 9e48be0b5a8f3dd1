import copy

import pytest
import torch
from mmengine.optim import OptimWrapper

from xlearner_mm.datasets import SourceError
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_sources


def build(sources=None, **kwargs):
    cfg = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=sources or tiny_sources())
    learner = MODELS.build({**cfg, **kwargs})
    learner.init_weights()
    return learner


def losses_of(learner, batch):
    data = learner.data_preprocessor(batch, True)
    return learner(**data, mode='loss')


def test_losses_are_named_by_source():
    losses = losses_of(build(), tiny_batch())
    assert {name.split('.')[0] for name in losses} == {'birds', 'cars', 'boxes', 'masks'}
    assert 'birds.loss' in losses
    assert 'boxes.loss_bbox' in losses
    assert 'masks.decode.loss_ce' in losses


def test_names_of_losses_are_the_same_without_objects():
    learner = build()
    assert set(losses_of(learner, tiny_batch())) == set(losses_of(learner, tiny_batch(empty_boxes=True)))


def test_a_training_step_gives_every_parameter_a_gradient():
    learner = build()
    losses_of(learner, tiny_batch())
    total, _ = learner.parse_losses(losses_of(learner, tiny_batch()))
    total.backward()
    without = [name for name, p in learner.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_the_loss_falls_by_training():
    learner = build()
    optimizer = OptimWrapper(torch.optim.AdamW(learner.parameters(), lr=3e-3))
    first = learner.train_step(tiny_batch(), optimizer)['loss']
    for _ in range(8):
        last = learner.train_step(tiny_batch(), optimizer)['loss']
    assert last < 0.8 * first


def test_loss_weights_scale_a_source_and_0_stops_its_heads_gradient():
    sources = tiny_sources()
    sources['boxes']['loss_weight'], sources['birds']['loss_weight'] = 2.0, 0.0
    torch.manual_seed(0)
    weighted_learner = build(sources)
    torch.manual_seed(0)
    weighted_learner.load_state_dict(build(tiny_sources()).state_dict())
    weighted = losses_of(weighted_learner, tiny_batch())
    torch.manual_seed(0)
    plain = losses_of(build(tiny_sources()), tiny_batch())
    torch.testing.assert_close(weighted['boxes.loss_cls'][0], 2 * plain['boxes.loss_cls'][0])
    assert weighted['birds.loss'] == 0
    weighted_learner.parse_losses(weighted)[0].backward()
    assert all(p.grad.abs().sum() == 0 for p in weighted_learner.networks['birds'].head.parameters())


def test_joint_batches_equal_separate_ones_when_norms_are_frozen():
    joint = build().eval()
    separate = copy.deepcopy(joint)
    separate.joint_batches = False
    results = []
    for learner in (joint, separate):
        losses = losses_of(learner, tiny_batch())
        total, _ = learner.parse_losses(losses)
        total.backward()
        results.append((total, {n: p.grad for n, p in learner.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert results[0][1].keys() == results[1][1].keys()
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize('source', ['birds', 'boxes', 'masks'])
def test_predict_takes_one_source_and_gives_the_stock_data_samples(source):
    learner = build().eval()
    samples = learner.val_step({source: tiny_batch()[source]})
    field = {'birds': 'pred_score', 'boxes': 'pred_instances', 'masks': 'pred_sem_seg'}[source]
    assert len(samples) == 2
    assert all(field in sample for sample in samples)


def test_predict_of_several_sources_is_refused():
    learner = build().eval()
    with pytest.raises(ValueError, match='one source at a time'):
        learner.val_step(tiny_batch())


def test_the_backbones_parameters_are_in_the_state_once():
    state = build().state_dict()
    assert not any('backbone' in name.split('.')[1:2] for name in state if name.startswith('networks'))
    assert not any(name.startswith('networks') and 'layer1' in name for name in state)


def test_sources_that_normalise_differently_are_refused():
    sources = tiny_sources()
    sources['boxes']['network']['data_preprocessor']['mean'] = [0.0, 0.0, 0.0]
    with pytest.raises(SourceError, match="source 'boxes': input normalisation.*source 'birds' has"):
        build(sources)


def test_a_branch_that_no_source_trains_is_refused():
    sources = tiny_sources()
    del sources['masks']
    with pytest.raises(SourceError, match=r"no source trains branch\(es\) \['seg'\]"):
        build(sources)


def test_a_level_that_no_source_reads_is_refused():
    sources = tiny_sources()
    sources['boxes']['network']['backbone']['out_indices'] = (0, 1, 2)
    sources['boxes']['network']['neck']['in_channels'] = [4, 8, 16]
    sources['boxes']['network']['neck']['num_outs'] = 2
    with pytest.raises(SourceError, match=r"no source reads level\(s\) \[3\] of branch 'det', only \[0, 1, 2\]"):
        build(sources)


def test_a_link_into_a_level_that_no_source_reads_is_refused():
    backbone = tiny_expanded(reconciliation=dict(topology='same', fuse='output'))
    with pytest.raises(SourceError, match=r"no source reads level\(s\) \[0, 1, 2\] of branch 'cls', only \[3\]"):
        build(backbone=backbone)


def test_a_batch_that_lacks_a_source_is_refused_in_training():
    batch = tiny_batch()
    del batch['cars']
    with pytest.raises(SourceError, match=r"no image of source\(s\) \['cars'\]"):
        build().data_preprocessor(batch, True)


def test_recomputed_branches_are_refused_where_links_pass_gradients_on():
    backbone = tiny_expanded(reconciliation=dict(detach=False))
    backbone['branches']['det']['with_cp'] = True
    with pytest.raises(ValueError, match=r"branch\(es\) \['det'\]: with_cp=True gives wrong gradients"):
        build(backbone=backbone)
