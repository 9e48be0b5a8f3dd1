"""The loss through frozen heads: its formula by another path, its gradients, and what it refuses."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.expansion.stock_network import port_of
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import CHANNELS, tiny_batch, tiny_detector, tiny_expanded, tiny_resnet, tiny_sources

SOURCES = ('birds', 'cars', 'boxes', 'masks')


def data_of(distiller, seed=0):
    return distiller.data_preprocessor(tiny_batch(seed=seed), True)


def heads_on(distiller, forward_task, source, data, mode):
    """What a source's network makes of its images when its port reads from a function."""
    network = copy.copy(distiller.teacher.learner.networks[source])
    port_of(network).bind(forward_task)
    return network(data['inputs'][source], data['data_samples'][source], mode=mode)


def flat(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for own in outputs for tensor in flat(own)]


def parsed(losses):
    values = [sum(value) if isinstance(value, list) else value for name, value in losses.items() if 'loss' in name]
    return sum(value.mean() for value in values)


@pytest.mark.parametrize('supervise', ['all', 'own'])
def test_with_labels_it_is_the_sources_own_loss_on_the_student(build, supervise):
    distiller = build(heads=dict(loss='labels', weight=0.5), supervise=supervise).eval()
    data = data_of(distiller)
    losses = distiller(**data, mode='loss')
    for source in SOURCES:
        wanted = parsed(heads_on(distiller, distiller.forward_task, source, data, 'loss'))
        torch.testing.assert_close(losses[f'{source}.heads_loss'], 0.5 * wanted, rtol=1e-4, atol=1e-5)


def test_with_tasks_only_their_sources_have_the_term(build):
    distiller = build(heads=dict(loss='labels'))
    some = build(heads=dict(loss='labels', tasks=['cls']))
    some.load_state_dict(distiller.state_dict())
    data = data_of(distiller)
    with_all, losses = (own.eval()(**data, mode='loss') for own in (distiller, some))
    assert {name for name in losses if name.endswith('heads_loss')} == {'birds.heads_loss', 'cars.heads_loss'}
    for name, value in losses.items():
        torch.testing.assert_close(value, with_all[name])


def test_levels_that_only_heads_of_other_tasks_read_need_not_be_distilled(build):
    build(heads=dict(loss='labels', tasks=['cls']), levels=(3,))


@pytest.mark.parametrize('standardize', [None, dict(type='PHIStandardize')])
def test_with_outputs_it_is_the_distance_of_what_the_heads_make_of_student_and_branch(build, standardize):
    distiller = build(heads=dict(loss='outputs'), standardize=standardize).train()
    distiller(**data_of(distiller, seed=1), mode='loss')  # moments that are not those of the start
    data = data_of(distiller.eval())
    losses = distiller(**data, mode='loss')
    for source in SOURCES:
        student = flat(heads_on(distiller, distiller.forward_task, source, data, 'tensor'))
        branch = flat(heads_on(distiller, distiller.teacher.learner.backbone.forward_task, source, data, 'tensor'))
        wanted = sum(((a - b) ** 2).mean() for a, b in zip(student, branch, strict=True)) / len(branch)
        torch.testing.assert_close(losses[f'{source}.heads_loss'], wanted, rtol=1e-3, atol=1e-6)
        assert wanted > 0


@pytest.mark.parametrize('kind', ['labels', 'outputs'])
def test_it_trains_student_and_guidance_and_leaves_the_heads_alone(build, kind):
    distiller = build(heads=dict(loss=kind), guidance=dict(type='TwoLayerGuidance')).train()
    learner = distiller.teacher.learner
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    losses = distiller(**data_of(distiller), mode='loss')
    sum(losses[f'{source}.heads_loss'] for source in SOURCES).backward()
    assert all(p.grad is not None for p in distiller.student.parameters())
    assert distiller.guidance['det_2'].conv.weight.grad.abs().max() > 0
    optimizer = OptimWrapper(torch.optim.SGD(distiller.parameters(), lr=1e-3))
    distiller.train_step(tiny_batch(), optimizer)
    assert all(p.grad is None for p in learner.parameters())
    assert all(torch.equal(before[name], value) for name, value in learner.state_dict().items())
    assert all(layer.hidden_norm.num_batches_tracked == 2 for layer in distiller.guidance.values()), 'once in a step'


def test_heads_read_the_student_in_the_sizes_of_a_branch_that_does_not_pad(build, tmp_path):
    convnext = dict(
        _scope_='mmpretrain',
        type='ConvNeXt',
        arch=dict(depths=[1, 1, 1, 1], channels=list(CHANNELS)),
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
    )
    backbone = tiny_expanded(branches=dict(cls=tiny_resnet(), det=convnext, seg=tiny_resnet()))
    cfg = dict(type='ExpansionLearner', backbone=backbone, sources=tiny_sources())
    torch.save({'state_dict': MODELS.build(cfg).state_dict(), 'meta': {}}, tmp_path / 'convnext.pth')
    distiller = build(teacher=dict(model=cfg, checkpoint=str(tmp_path / 'convnext.pth'))).eval()
    x = torch.randn(1, 3, 171, 139)
    for task in ('cls', 'det'):
        own = distiller.teacher.learner.backbone.forward_task(x, task)
        read = distiller.forward_task(x, task)
        assert [read[i].shape for i in range(4)] == [feature.shape for feature in own]


def of_two_stages():
    """A Faster R-CNN that keeps ten proposals an image, so that its outputs have the same shapes of any features."""
    retinanet = tiny_detector()
    shared = {key: retinanet[key] for key in ('_scope_', 'data_preprocessor', 'backbone', 'neck')}
    anchors = dict(type='AnchorGenerator', scales=[2], ratios=[1.0], strides=[8, 16, 32])
    proposals = dict(nms_pre=100, max_per_img=10, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0)
    assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5)
    sampler = dict(type='RandomSampler', num=16, pos_fraction=0.25, add_gt_as_proposals=True)
    stage = dict(assigner=assigner, sampler=sampler, pos_weight=-1)
    detected = dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=5)
    align = dict(type='RoIAlign', output_size=3, sampling_ratio=0)
    return dict(
        shared,
        type='FasterRCNN',
        rpn_head=dict(type='RPNHead', in_channels=8, feat_channels=8, anchor_generator=anchors),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor', roi_layer=align, out_channels=8, featmap_strides=[8, 16, 32]
            ),
            bbox_head=dict(type='Shared2FCBBoxHead', in_channels=8, fc_out_channels=16, roi_feat_size=3, num_classes=3),
        ),
        train_cfg=dict(rpn=dict(stage, allowed_border=-1), rpn_proposal=proposals, rcnn=stage),
        test_cfg=dict(rpn=proposals, rcnn=detected),
    )


def of_chosen_queries():
    """A Deformable DETR whose queries are the best proposals of its encoder, always as many."""
    retinanet = tiny_detector()
    shared = {key: retinanet[key] for key in ('_scope_', 'data_preprocessor', 'backbone', 'neck')}
    attention, ffn = dict(embed_dims=8, num_heads=2, num_levels=3), dict(embed_dims=8, feedforward_channels=16)
    focal = dict(type='FocalLoss', use_sigmoid=True)
    return dict(
        shared,
        type='DeformableDETR',
        num_queries=5,
        num_feature_levels=3,
        as_two_stage=True,
        with_box_refine=True,
        encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
        decoder=dict(
            num_layers=1,
            post_norm_cfg=None,
            return_intermediate=True,
            layer_cfg=dict(self_attn_cfg=dict(embed_dims=8, num_heads=2), cross_attn_cfg=attention, ffn_cfg=ffn),
        ),
        positional_encoding=dict(num_feats=4, normalize=True),
        bbox_head=dict(type='DeformableDETRHead', num_classes=3, embed_dims=8, loss_cls=focal),
    )


@pytest.fixture
def with_boxes_of(build, tmp_path):
    """Build a squeeze whose source `boxes` has another network."""

    def with_boxes_of(network, **settings):
        sources = tiny_sources()
        sources['boxes'] = dict(sources['boxes'], network=network)
        cfg = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=sources)
        learner = MODELS.build(cfg)
        learner.init_weights()
        torch.save({'state_dict': learner.state_dict(), 'meta': {}}, tmp_path / 'other.pth')
        return build(teacher=dict(model=cfg, checkpoint=str(tmp_path / 'other.pth')), **settings)

    return with_boxes_of


@pytest.mark.parametrize(
    ('network', 'what'), [(of_two_stages, 'a roi_head of proposals'), (of_chosen_queries, 'queries of as_two_stage')]
)
def test_outputs_of_places_that_the_features_choose_are_not_compared(with_boxes_of, network, what):
    with pytest.raises(ConfigError, match=rf"'boxes' has {what}.*use loss='labels'.*tasks=\['cls', 'seg'\]"):
        with_boxes_of(network(), heads=dict(loss='outputs'))
    with pytest.raises(ConfigError, match=r"use loss='labels', or heads=None"):
        with_boxes_of(network(), heads=dict(loss='outputs', tasks=['det']))
    with_boxes_of(network(), heads=dict(loss='outputs', tasks=['cls', 'seg']))


def test_labels_and_the_other_tasks_outputs_teach_beside_a_detector_of_two_stages(with_boxes_of):
    labels = with_boxes_of(of_two_stages(), heads=dict(loss='labels')).train()
    others = with_boxes_of(of_two_stages(), heads=dict(loss='outputs', tasks=['cls', 'seg'])).train()
    assert labels(**data_of(labels), mode='loss')['boxes.heads_loss'].isfinite()
    found = {name for name in others(**data_of(others), mode='loss') if name.endswith('heads_loss')}
    assert found == {f'{source}.heads_loss' for source in SOURCES if source != 'boxes'}


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(heads='labels'), r"heads must be dict\(loss='labels'\).*'labels'"),
        (dict(heads=dict(loss='logits')), r"heads.*'outputs'.*'logits'"),
        (dict(heads=dict(loss='labels', weight=-1)), r'heads.weight.*not negative.*-1'),
        (dict(heads=dict(loss='labels', scale=1)), 'heads.*scale'),
        (dict(heads=dict(loss='labels', tasks=['pose'])), r"heads.tasks.*'cls', 'det', 'seg'.*pose"),
        (dict(heads=dict(loss='labels', tasks='cls')), r"heads.tasks.*got 'cls'"),
        (dict(heads=dict(loss='labels', tasks=[])), r'heads.tasks.*got \[\]'),
        (dict(heads=dict(loss='labels'), mix=dict(type='Mixup', alpha=0.8)), r'mix leaves no labels for heads'),
        (dict(heads=dict(loss='labels'), levels=(3,)), r"source 'boxes' read levels \[0, 1, 2\].*\[3\].*distilled"),
    ],
)
def test_what_cannot_be_is_refused(build, settings, message):
    with pytest.raises(ConfigError, match=message):
        build(**settings)
