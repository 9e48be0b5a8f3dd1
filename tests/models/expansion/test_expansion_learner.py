import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from torch import nn

from xlearner_mm.errors import ConfigError, SourceError
from xlearner_mm.models.norms import parts_of
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_resnet, tiny_sources


def build(sources=None, **kwargs):
    cfg = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=sources or tiny_sources())
    learner = MODELS.build({**cfg, **kwargs})
    learner.init_weights()
    return learner


def losses_of(learner, batch):
    data = learner.data_preprocessor(batch, True)
    return learner(**data, mode='loss')


def test_a_backbone_that_merges_one_branch_is_refused():
    with pytest.raises(ConfigError, match="merge='cls'.*freezes all other branches.*leave merge out"):
        build(backbone=tiny_expanded(merge='cls'))


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
    with pytest.raises(ValueError, match='one source'):
        learner.val_step(tiny_batch())


def test_the_backbones_parameters_are_in_the_state_once():
    state = build().state_dict()
    assert not any('backbone' in name.split('.')[1:2] for name in state if name.startswith('networks'))
    assert not any(name.startswith('networks') and 'layer1' in name for name in state)


def test_sources_that_normalize_differently_are_refused():
    sources = tiny_sources()
    sources['boxes']['network']['data_preprocessor']['mean'] = [0.0, 0.0, 0.0]
    with pytest.raises(SourceError, match=r"source 'boxes'.* normalization \(mean \[0.0.*source 'birds'.*mean \[123"):
        build(sources)


def test_a_branch_that_no_source_trains_is_refused():
    sources = tiny_sources()
    del sources['masks']
    with pytest.raises(ConfigError, match=r"no source.*branch\(es\) \['seg'\]"):
        build(sources)


def test_a_level_that_no_source_reads_is_refused():
    sources = tiny_sources()
    sources['boxes']['network']['backbone']['out_indices'] = (0, 1, 2)
    sources['boxes']['network']['neck']['in_channels'] = [4, 8, 16]
    sources['boxes']['network']['neck']['num_outs'] = 2
    with pytest.raises(ConfigError, match=r"no source.*level\(s\) \[3\] of branch 'det', only \[0, 1, 2\]"):
        build(sources)


def test_a_link_into_a_level_that_no_source_reads_is_refused():
    backbone = tiny_expanded(reconciliation=dict(topology='same', fuse='output'))
    with pytest.raises(ConfigError, match=r"no source.*level\(s\) \[0, 1, 2\] of branch 'cls', only \[3\]"):
        build(backbone=backbone)


def test_a_batch_that_lacks_a_source_is_refused_in_training():
    batch = tiny_batch()
    del batch['cars']
    with pytest.raises(SourceError, match=r"no image.*source\(s\) \['cars'\]"):
        build().data_preprocessor(batch, True)


def mixed_batch():
    """Images of the two classification sources differ in size."""
    batch = tiny_batch()
    batch['cars']['inputs'] = [F.pad(image, (0, 32, 0, 64)) for image in batch['cars']['inputs']]
    return batch


def passes_of(learner, batch):
    """The batches that each branch's first norm of a block sees in a step, as numbers of positions."""
    seen = {name: [] for name in learner.backbone.branches}
    for name, branch in learner.backbone.branches.items():
        branch.backbone.layer1[0].norm1.register_forward_hook(
            lambda norm, inputs, _, own=seen[name]: own.append(inputs[0]) if norm.training else None
        )
    losses = losses_of(learner, batch)
    learner.parse_losses(losses)[0].backward()
    return {name: [sum(part[:, 0].numel() for part in parts_of(x)) for x in own] for name, own in seen.items()}


@pytest.mark.parametrize('sync', [False, True], ids=['BN', 'SyncBN'])
@pytest.mark.parametrize('batch', [tiny_batch, mixed_batch])
@pytest.mark.parametrize('with_cp', [False, True], ids=['', 'checkpointed'])
def test_every_branch_runs_once_per_step_for_any_image_sizes(sync, batch, with_cp):
    """Synchronized norms of all ranks then talk equally often, and all train on the mixture that they evaluate with."""
    backbone = tiny_expanded(branches={name: tiny_resnet(with_cp=with_cp) for name in ('cls', 'det', 'seg')})
    learner = build(backbone=backbone).train()
    learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner) if sync else learner
    images = learner.data_preprocessor(batch(), True)['inputs']
    of_branch = dict(cls=('birds', 'cars'), det=('boxes',), seg=('masks',))
    positions = {t: sum(images[s][:, 0, ::4, ::4].numel() for s in names) for t, names in of_branch.items()}
    expected = {t: [count] * (2 if with_cp else 1) for t, count in positions.items()}
    assert passes_of(learner, batch()) == expected


def test_sources_of_different_size_are_normalized_by_their_mixture():
    learner = build().train()
    norm, seen = learner.backbone.branches['cls'].backbone.norm1, []
    norm.register_forward_hook(lambda norm, inputs, _: seen.append(inputs[0]) if norm.training else None)
    losses_of(learner, mixed_batch())
    positions = torch.cat([part.transpose(0, 1).flatten(1) for part in seen[0].parts], dim=1)
    torch.testing.assert_close(norm.running_mean, 0.1 * positions.mean(1))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * positions.var(1))


@pytest.mark.parametrize('with_cp', [False, True], ids=['', 'checkpointed'])
def test_images_of_several_sizes_train_in_mixed_precision_and_in_a_copy(with_cp):
    backbone = tiny_expanded(branches={name: tiny_resnet(with_cp=with_cp) for name in ('cls', 'det', 'seg')})
    learner = build(backbone=backbone).train()
    copied = copy.deepcopy(learner)
    with torch.autocast('cpu', torch.bfloat16):
        losses = losses_of(copied, mixed_batch())
    copied.parse_losses(losses)[0].backward()
    assert all(parameter.grad.isfinite().all() for parameter in copied.parameters())
    assert all(parameter.grad is None for parameter in learner.parameters())
    assert {norm.num_batches_tracked.item() for norm in learner.modules() if isinstance(norm, nn.BatchNorm2d)} == {0}


def test_joint_batches_off_runs_one_source_after_another():
    assert len(passes_of(build(joint_batches=False).train(), tiny_batch())['cls']) == 2


@pytest.mark.parametrize('batch', [tiny_batch, mixed_batch])
def test_without_batch_norms_images_of_each_size_run_on_their_own(batch):
    group_norm = dict(type='GN', num_groups=2)
    learner = build(
        backbone=tiny_expanded(
            branches={name: tiny_resnet(norm_cfg=group_norm) for name in ('cls', 'det', 'seg')},
            reconciliation=dict(link=dict(type='ConvLink', norm_cfg=group_norm)),
        )
    )
    sizes = {1: [[64, 64]], 2: [[64, 64], [128, 96]]}[1 if batch is tiny_batch else 2]
    seen = []
    learner.backbone.branches['cls'].backbone.conv1.register_forward_hook(
        lambda _, inputs, out: seen.append(list(inputs[0].shape[-2:])) if out.requires_grad else None
    )
    losses_of(learner.train(), batch())
    assert seen == sizes


SWIN = dict(
    _scope_='mmdet',
    type='SwinTransformer',
    embed_dims=8,
    depths=(1, 1, 1, 1),
    num_heads=(1, 1, 1, 1),
    window_size=2,
    out_indices=(0, 1, 2, 3),
)


def test_links_with_batch_norms_see_the_mixture_where_their_branch_has_none():
    backbone = tiny_expanded(branches=dict(cls=dict(SWIN, out_indices=(3,)), det=tiny_resnet(), seg=tiny_resnet()))
    sources = tiny_sources()
    for name in ('birds', 'cars'):
        sources[name]['network']['head']['in_channels'] = 64
    learner = build(sources, backbone=backbone).train()
    norms = [norm for norm in learner.backbone.links['det_0__cls_1'].modules() if isinstance(norm, nn.BatchNorm2d)]
    learner.parse_losses(losses_of(learner, mixed_batch()))[0].backward()
    assert [norm.num_batches_tracked.item() for norm in norms] == [1] * len(norms)
    assert all(p.grad is not None for p in learner.backbone.links.parameters())
