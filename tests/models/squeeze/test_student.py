"""Valid students and their initialization."""

import re

import pytest
import torch
from mmengine.optim import OptimWrapper

from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_resnet

from ..expansion.test_branch import CONVNEXT, MMDET_SWIN, MMPRETRAIN_SWIN

STATED = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 'rgb']
STUDENTS = {
    'ResNet-34, wider': tiny_resnet(depth=34, base_channels=6),
    'ResNet-50': tiny_resnet(depth=50),
    'mmpretrain ResNet': dict(
        _scope_='mmpretrain', type='ResNet', depth=18, stem_channels=4, base_channels=4, out_indices=(0, 1, 2, 3)
    ),
    'mmdet Swin': MMDET_SWIN,
    'mmpretrain Swin': MMPRETRAIN_SWIN,
    'ConvNeXt': CONVNEXT,
    'stride 8 first': tiny_resnet(strides=(2, 2, 2, 1)),
}


def losses_of(distiller):
    return distiller(**distiller.data_preprocessor(tiny_batch(), True), mode='loss')


@pytest.mark.parametrize('student', STUDENTS.values(), ids=STUDENTS)
def test_any_backbone_with_the_levels_learns(build, student):
    distiller = build(student=student)
    optimizer = OptimWrapper(torch.optim.AdamW(distiller.parameters(), lr=3e-3))
    first = distiller.train_step(tiny_batch(), optimizer)['loss']
    for _ in range(6):
        last = distiller.train_step(tiny_batch(), optimizer)['loss']
    assert last < first
    distiller.parse_losses(losses_of(distiller))[0].backward()
    assert [name for name, p in distiller.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize('name', ['mmdet Swin', 'stride 8 first'])
def test_heads_read_the_student_in_the_branchs_channels_and_sizes(build, name):
    distiller = build(student=STUDENTS[name]).eval()
    x = torch.randn(1, 3, 96, 70)
    own = distiller.teacher.learner.backbone.forward_task(x, 'det')
    read = distiller.forward_task(x, 'det')
    assert [read[i].shape for i in range(4)] == [f.shape for f in own]
    predicted = distiller.val_step(dict(boxes=tiny_batch()['boxes']))
    assert len(predicted) == 2


def test_levels_are_those_of_its_out_indices(build):
    distiller = build(student=tiny_resnet(out_indices=(1, 3)), levels=(1, 3))
    losses = losses_of(distiller)
    x = distiller.data_preprocessor(tiny_batch(), True)['inputs']['birds']
    assert set(losses) == {f'loss_{t}_{i}' for t in ('cls', 'det', 'seg') for i in (1, 3)}
    assert distiller.guidance['cls_3'].conv.in_channels == distiller.student(x)[1].shape[1]


@pytest.mark.parametrize(
    ('student', 'message'),
    [
        (tiny_resnet(out_indices=(2, 3)), r"levels \[0, 1\].*'student'.*\[2, 3\]"),
        ({**MMPRETRAIN_SWIN, 'out_indices': (3,)}, r"levels \[0, 1, 2\].*'student'.*\[3\]"),
        (
            dict(_scope_='mmpretrain', type='VisionTransformer', arch='deit-tiny', img_size=224),
            r'student: VisionTransformer returns \(a tensor of shape \(1, 192\)\), expected a tuple with one feature',
        ),
        (
            {**CONVNEXT, 'gap_before_final_norm': True},
            r'student: ConvNeXt returns .*\(1, 32\)\), expected a tuple with one feature map \(B, C, H, W\)',
        ),
        (
            {**MMPRETRAIN_SWIN, 'window_size': 24},
            'student: SwinTransformer cannot run on an image of 224x224: .* nor of 384x384',
        ),
    ],
)
def test_an_unalignable_link_is_refused_at_build(build, student, message):
    with pytest.raises(ConfigError, match=message):
        build(student=student)


def saved(tmp_path, model, **meta):
    """A checkpoint of a stock network that holds the backbone."""
    torch.manual_seed(7)
    backbone = MODELS.build(model)
    state = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save(dict(state_dict={**state, 'head.fc.weight': torch.zeros(1)}, meta=meta), tmp_path / 'start.pth')
    return backbone, dict(type='Pretrained', checkpoint=str(tmp_path / 'start.pth'))


@pytest.mark.parametrize('name', ['ResNet-50', 'mmpretrain ResNet', 'mmdet Swin', 'mmpretrain Swin', 'ConvNeXt'])
def test_the_student_can_be_initialized_from_a_checkpoint(build, tmp_path, name):
    backbone, init_cfg = saved(tmp_path, STUDENTS[name], normalization=STATED)
    distiller = build(student={**STUDENTS[name], 'init_cfg': init_cfg})
    for key, value in distiller.student.state_dict().items():
        assert torch.equal(value, backbone.state_dict()[key])


@pytest.mark.parametrize('name', ['mmpretrain ResNet', 'mmdet Swin'])
def test_initialization_that_leaves_weights_random_is_refused(build, tmp_path, name):
    _, init_cfg = saved(tmp_path, STUDENTS[name])
    content = torch.load(init_cfg['checkpoint'])
    del content['state_dict'][next(iter(content['state_dict']))]
    torch.save(content, init_cfg['checkpoint'])
    with pytest.raises(CheckpointError, match=r'start.pth .*fit.* 1 missing'):
        build(student={**STUDENTS[name], 'init_cfg': init_cfg})


@pytest.mark.parametrize('name', ['ResNet-50', 'mmdet Swin'])
def test_initialization_under_another_normalization_is_refused(build, tmp_path, name):
    _, init_cfg = saved(tmp_path, STUDENTS[name], xlearner=dict(normalization=[[0.0] * 3, [255.0] * 3, 'rgb']))
    with pytest.raises(
        CheckpointError, match=r'student: .*start.pth .*normalization .*mean \[0.0, .* sources .*mean \[123'
    ):
        build(student={**STUDENTS[name], 'init_cfg': init_cfg})


def test_a_missing_initialization_is_named(build):
    init_cfg = dict(type='Pretrained', checkpoint='gone.pth')
    with pytest.raises(CheckpointError, match='gone.pth .*exist'):
        build(student=tiny_resnet(init_cfg=init_cfg))


def test_only_one_initialization_is_accepted(build, tmp_path):
    _, init_cfg = saved(tmp_path, tiny_resnet())
    with pytest.raises(ConfigError, match="branch 'det' .*start.pth; .*start_from or"):
        build(student=tiny_resnet(init_cfg=init_cfg), start_from='det')


SWIN = dict(_scope_='mmdet', type='SwinTransformer', embed_dims=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2)


@pytest.mark.parametrize(
    ('student', 'levels', 'untrained'),
    [
        (tiny_resnet(), (0, 1, 2), ['layer4']),
        (tiny_resnet(out_indices=(0, 1)), (0, 1), ['layer3', 'layer4']),
        (SWIN, (1, 3), ['norm0', 'norm2']),
    ],
)
def test_a_partly_untrained_student_is_refused(build, student, levels, untrained):
    with pytest.raises(ConfigError, match=re.escape(f'levels {levels} leave {untrained} of the student untrained')):
        build(student=student, levels=levels)


def test_modules_behind_the_last_output_are_frozen(build):
    student = dict(_scope_='mmpretrain', type='MobileNetV2', widen_factor=0.1, out_indices=(1, 2))
    distiller = build(student=student, levels=(1, 2))
    assert not distiller.student.conv2.conv.weight.requires_grad
    distiller.parse_losses(distiller(**distiller.data_preprocessor(tiny_batch(), True), mode='loss'))[0].backward()
    assert all(parameter.grad is not None for parameter in distiller.parameters() if parameter.requires_grad)


def test_the_student_can_be_initialized_from_the_average_of_the_branches(build):
    distiller = build(start_from='average')
    saved = torch.load(distiller.teacher.checkpoint, weights_only=True)['state_dict']
    for name, own in distiller.student.state_dict().items():
        branches = [saved[f'backbone.branches.{branch}.backbone.{name}'] for branch in ('cls', 'det', 'seg')]
        if own.is_floating_point():
            torch.testing.assert_close(own, sum(branches) / 3)
    assert not torch.equal(distiller.student.conv1.weight, branches[0])


def test_branches_of_another_shape_have_no_average_to_start_from(build):
    with pytest.raises(CheckpointError, match=r'(?s)another shape than XLearnerResNet.*base_channels'):
        build(start_from='average', student=tiny_resnet(base_channels=8))


def test_the_student_can_be_initialized_from_a_hard_sharing_checkpoint(build, learner_cfg, tmp_path):
    shared = dict(
        type='XLearnerExpandedBackbone',
        branches=dict(shared=tiny_resnet()),
        tasks=dict(cls='shared', det='shared', seg='shared'),
        reconciliation=dict(topology='none'),
    )
    learner = MODELS.build(dict(learner_cfg, backbone=shared))
    torch.save({'state_dict': learner.state_dict(), 'meta': {}}, tmp_path / 'hard_sharing.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'hard_sharing.pth'))
    student = build(student=tiny_resnet(init_cfg=init_cfg)).student
    for name, value in learner.backbone.branches['shared'].backbone.state_dict().items():
        assert torch.equal(student.state_dict()[name], value), name
