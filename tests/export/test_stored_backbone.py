"""Types that metadata of foreign checkpoints may and may not build."""

import pytest

from xlearner_mm.errors import CheckpointError
from xlearner_mm.export.stored_backbone import build_stored, without_start
from xlearner_mm.testing import tiny_expanded, tiny_resnet


@pytest.mark.parametrize(
    'settings',
    [
        tiny_resnet(),
        tiny_resnet(type='XLearnerResNetV1c'),
        tiny_resnet(type='mmpretrain.XLearnerResNetV1d'),
        tiny_resnet(norm_cfg=dict(type='SyncBN')),
        tiny_resnet(depth=50, plugins=[dict(cfg=dict(type='ContextBlock', ratio=0.25), position='after_conv2')]),
        tiny_expanded('cls', 'det'),
        dict(_scope_='mmpretrain', type='ConvNeXt', arch='atto', act_cfg=dict(type='GELU')),
        dict(type='mmdet.ResNet', depth=18, base_channels=4),
    ],
)
def test_registered_backbones_and_their_layers_are_built(settings):
    build_stored(settings, 'x.pth')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(type='os.mkdir', path='executed'), "the type 'os.mkdir', which is not registered"),
        (dict(type='mmengine.mkdir_or_exist', dir_name='executed'), 'not registered'),
        (dict(type='mmpretrain.get_model', model='resnet18_8xb32_in1k', pretrained='executed'), 'not registered'),
        (dict(type=['os', 'mkdir']), 'not registered'),
        (tiny_resnet(norm_cfg=dict(type='os.mkdir')), "the type 'os.mkdir'"),
        (tiny_resnet(plugins=[dict(cfg=dict(type='os.mkdir', path='executed'))]), "the type 'os.mkdir'"),
        (dict(type='XLearnerExpandedBackbone', branches=dict(cls=dict(type='os.mkdir', path='executed'))), 'os.mkdir'),
        (dict(_scope_='os', type='mkdir', path='executed'), "the unknown scope 'os'"),
        (
            dict(type='mmpretrain.TIMMBackbone', model_name='resnet18', pretrained=True),
            'neither a backbone nor a layer',
        ),
        (dict(_scope_='mmpretrain', type='HuggingFaceClassifier', model_name='a/b'), 'neither a backbone nor a layer'),
        (dict(_scope_='mmdet', type='RetinaNet'), 'neither a backbone nor a layer'),
        (dict(type='FitNetDistiller', teacher=dict(checkpoint='x')), 'neither a backbone nor a layer'),
    ],
)
def test_anything_else_is_refused_and_not_run(settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f'x.pth is refused: .*{message}'):
        build_stored(settings, 'x.pth')
    assert not list(tmp_path.iterdir())


def test_settings_of_another_version_are_explained():
    with pytest.raises(CheckpointError, match='x.pth: .*backbone.* built.*another version'):
        build_stored(tiny_resnet(a_later_setting=1), 'x.pth')


def test_origins_of_weights_are_omitted_at_every_depth():
    start = dict(type='Pretrained', checkpoint='http://example.org/x.pth')
    nested = tiny_expanded('cls', init_cfg=start)
    nested['branches']['cls'].update(init_cfg=start, pretrained='torchvision://resnet18')
    assert without_start(nested) == tiny_expanded('cls')
