"""The mm format in what OpenMMLab's own libraries load it with."""

import pytest
import torch

from xlearner_mm.export import export_backbone
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet

ALL_LEVELS = dict(out_indices=(0, 1, 2, 3))


@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
def test_the_libraries_resnet_loads_it_strictly_and_gives_the_same_features(trained, tmp_path, library):
    backbone, checkpoint = trained(tiny_resnet())
    out = str(tmp_path / 'backbone.pth')
    export_backbone(checkpoint, out)
    config = tiny_resnet(type=f'{library}.ResNet', **ALL_LEVELS)
    strict, started = (
        MODELS.build(config),
        MODELS.build({**config, 'init_cfg': dict(type='Pretrained', checkpoint=out)}),
    )
    strict.load_state_dict(torch.load(out, weights_only=True)['state_dict'], strict=True)
    started.init_weights()
    images = torch.randn(2, 3, 75, 64)
    for stock in (strict, started):
        stock.eval()
        with torch.no_grad():
            for own, theirs in zip(backbone(images), stock(images), strict=True):
                torch.testing.assert_close(theirs, own, rtol=1e-6, atol=1e-6)


def test_an_expanded_backbone_is_one_again_from_its_export(trained, tmp_path):
    backbone, checkpoint = trained(tiny_expanded('cls', 'det'))
    out = tmp_path / 'expanded.pth'
    meta = export_backbone(checkpoint, out, expanded=True)
    written = torch.load(out, weights_only=True)
    again = MODELS.build(dict(meta['backbone']))
    again.load_state_dict(written['state_dict'], strict=True)
    again.eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(own, other) for own, other in zip(backbone(images), again(images), strict=True))
    assert (meta['channels'], meta['strides']) == ([8, 16, 32, 64], [4, 8, 16, 32])
