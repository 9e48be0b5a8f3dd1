import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from xlearner_mm.errors import CheckpointError
from xlearner_mm.export import export_backbone
from xlearner_mm.testing import tiny_expanded, tiny_resnet


@pytest.mark.parametrize(
    ('config', 'levels'),
    [
        (tiny_resnet(), (4, 8, 16, 32)),
        pytest.param(tiny_expanded('cls', 'det'), (8, 16, 32, 64), marks=pytest.mark.slow),
    ],
    ids=['plain', 'expanded'],
)
def test_onnxruntime_gives_the_same_features_of_any_batch_and_size(trained, tmp_path, config, levels):
    backbone, checkpoint = trained(config)
    meta = export_backbone(checkpoint, tmp_path / 'b.onnx', expanded='branches' in config)
    session = onnxruntime.InferenceSession(tmp_path / 'b.onnx', providers=['CPUExecutionProvider'])
    assert meta['channels'] == list(levels)
    for shape in ((1, 3, 64, 64), (5, 3, 33, 130)):
        images = torch.randn(shape)
        theirs = session.run([f'level_{i}' for i in range(4)], {'images': images.numpy()})
        with torch.no_grad():
            for own, other in zip(backbone(images), theirs, strict=True):
                assert other.shape == own.shape
                assert np.abs(other - own.numpy()).max() <= 1e-4 * max(1, float(own.abs().max()))
    described = {entry.key: entry.value for entry in onnx.load(tmp_path / 'b.onnx').metadata_props}
    assert json.loads(described['xlearner']) == json.loads(json.dumps(meta))


def test_a_missing_package_is_named(trained, tmp_path, monkeypatch):
    _, checkpoint = trained(tiny_resnet())
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(CheckpointError, match=r'needs onnxruntime .*pip install xlearner_mm\[export\]'):
        export_backbone(checkpoint, tmp_path / 'b.onnx')
    assert not list(tmp_path.glob('b.onnx*'))


@pytest.mark.slow
def test_a_backbone_that_cannot_take_any_size_is_refused(trained, tmp_path):
    swin = dict(_scope_='mmdet', type='SwinTransformer', embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8))
    _, checkpoint = trained(swin)
    with pytest.raises(CheckpointError, match='SwinTransformer is bound to one image size as ONNX'):
        export_backbone(checkpoint, tmp_path / 'b.onnx')
    assert not list(tmp_path.glob('b.onnx*'))
