import pytest

from xlearner_mm.errors import CheckpointError
from xlearner_mm.export.formats import PlainResNet, plain_resnet_of
from xlearner_mm.export.stored_backbone import StoredBackbone, find_backbone
from xlearner_mm.testing import tiny_expanded, tiny_resnet


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(style='caffe'), "style='caffe'"),
        (dict(depth=50, dcn=dict(type='DCNv2'), stage_with_dcn=(False, True, True, True)), "dcn={'type': 'DCNv2'}"),
        (dict(plugins=[dict(cfg=dict(type='ContextBlock', ratio=0.25), position='after_conv1')]), 'plugins='),
        (dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)), r'strides=\(1, 2, 1, 1\)'),
        (dict(dilations=(1, 1, 1, 2)), r'dilations=\(1, 1, 1, 2\)'),
        (dict(norm_cfg=dict(type='GN', num_groups=2)), "norm_cfg={'type': 'GN'"),
        (dict(norm_cfg=dict(type='BN', eps=1e-3)), "'eps': 0.001"),
        (dict(multi_grid=(1, 2)), 'multi_grid='),
        (dict(a_later_setting=True), 'a_later_setting=True'),
        (dict(type='ResNeXt', groups=32), 'it is ResNeXt of depth 18'),
        (dict(depth=9), 'of depth 9'),
    ],
)
def test_what_other_libraries_resnet_does_not_do_is_refused_by_name(settings, message):
    stored = StoredBackbone('x.pth', tiny_resnet(**settings), {}, {})
    with pytest.raises(CheckpointError, match=f'timm cannot hold the backbone of x.pth: .*{message}.*export to mm'):
        plain_resnet_of(stored, 'timm')


def test_an_expanded_backbone_is_no_resnet(trained):
    _, checkpoint = trained(tiny_expanded('cls', 'det'))
    with pytest.raises(CheckpointError, match='torchvision cannot hold .* it is XLearnerExpandedBackbone;'):
        plain_resnet_of(find_backbone(checkpoint, expanded=True), 'torchvision')


def test_settings_of_training_leave_it_plain(trained):
    free = dict(frozen_stages=1, norm_eval=True, with_cp=True, norm_cfg=dict(type='SyncBN', requires_grad=False))
    _, checkpoint = trained(tiny_resnet(strides=[1, 2, 2, 2], style='pytorch', **free))
    assert plain_resnet_of(find_backbone(checkpoint), 'timm') == PlainResNet(18, False, False, 4, 4)
