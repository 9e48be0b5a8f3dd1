import pytest
import timm
import torch
from safetensors.torch import load_file

from xlearner_mm.errors import CheckpointError
from xlearner_mm.export import export_backbone
from xlearner_mm.export.stored_backbone import find_backbone


def check_features(backbone, meta, state):
    """The model that the metadata names loads the weights strictly; features_only gives ours at every level."""
    how = meta['format']
    model = timm.create_model(how['model'], **how['kwargs'])
    model.load_state_dict(state)
    images = torch.randn(2, 3, 75, 64)
    with torch.no_grad():
        theirs = model.eval().forward_intermediates(images, intermediates_only=True)[1:]
        for other, own in zip(theirs, backbone(images), strict=True):
            torch.testing.assert_close(other, own, rtol=1e-5, atol=1e-5)


def test_timms_resnet50_loads_it_strictly_and_gives_the_same_features(trained, tmp_path):
    backbone, checkpoint = trained(dict(type='XLearnerResNet', depth=50))
    export_backbone(checkpoint, tmp_path / 'backbone.pth', format='timm')
    model = timm.create_model('resnet50', num_classes=0)
    model.load_state_dict(torch.load(tmp_path / 'backbone.pth', weights_only=True))
    images = torch.randn(1, 3, 75, 64)
    with torch.no_grad():
        for ours, theirs in zip(
            backbone(images), model.eval().forward_intermediates(images, intermediates_only=True)[1:], strict=True
        ):
            torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(images), backbone(images)[-1].mean((2, 3)), rtol=1e-5, atol=1e-5)


NARROW = dict(depth=18, base_channels=8)


@pytest.mark.parametrize(
    ('config', 'model', 'kwargs'),
    [
        (dict(type='XLearnerResNet', **NARROW), 'resnet18', {}),
        (
            dict(type='XLearnerResNet', deep_stem=True, avg_down=True, stem_channels=16, **NARROW),
            'resnet18d',
            {'stem_width': 8},
        ),
        (
            dict(type='XLearnerResNet', deep_stem=True, stem_channels=16, **NARROW),
            'resnet18',
            {'stem_type': 'deep', 'stem_width': 8},
        ),
        (dict(type='XLearnerResNet', avg_down=True, **NARROW), 'resnet18', {'avg_down': True}),
        # mmpretrain names the parts of its deep stem otherwise.
        (
            dict(_scope_='mmpretrain', type='ResNetV1d', stem_channels=16, out_indices=(0, 1, 2, 3), **NARROW),
            'resnet18d',
            {'stem_width': 8},
        ),
    ],
)
def test_other_widths_and_deep_stems_say_how_timm_builds_them(trained, tmp_path, config, model, kwargs):
    backbone, checkpoint = trained(config)
    meta = export_backbone(checkpoint, tmp_path / 'backbone.safetensors', format='timm')
    wanted = {'num_classes': 0, 'channels': [8, 16, 32, 64], **kwargs}
    assert meta['format'] == {'name': 'timm', 'model': model, 'kwargs': wanted}
    check_features(backbone, meta, load_file(tmp_path / 'backbone.safetensors'))
    if '_scope_' not in config:
        again = find_backbone(str(tmp_path / 'backbone.safetensors')).build()
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert all(torch.equal(ours, own) for ours, own in zip(again(images), backbone(images), strict=True))


def test_a_plain_stem_of_another_width_is_refused_by_name(trained, tmp_path):
    _, checkpoint = trained(dict(type='XLearnerResNet', stem_channels=8, **NARROW))
    with pytest.raises(CheckpointError, match='timm cannot hold .* stem_channels=8, which is 64 there'):
        export_backbone(checkpoint, tmp_path / 'backbone.pth', format='timm')
