"""Deep and plain stems: loaded under every library's names, or refused with the setting that mends it."""

import pytest
import torch

from xlearner_mm.errors import CheckpointError
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_resnet


@pytest.fixture
def saved(tmp_path):
    """A function that saves a tiny ResNet's weights below a prefix and returns both."""

    def save(prefix='', **kwargs):
        net = MODELS.build(tiny_resnet(**kwargs))
        path = str(tmp_path / 'checkpoint.pth')
        torch.save({prefix + key: value for key, value in net.state_dict().items()}, path)
        return net, path

    return save


def load(path, **kwargs):
    net = MODELS.build(tiny_resnet(init_cfg=dict(type='Pretrained', checkpoint=path), **kwargs))
    net.init_weights()
    return net


@pytest.mark.parametrize(('wrote', 'reads'), [('mmseg', 'mmpretrain'), ('mmpretrain', 'mmdet'), ('mmdet', 'mmseg')])
def test_a_deep_stem_loads_from_the_names_of_every_library(saved, wrote, reads):
    net, path = saved('backbone.', deep_stem=True, library=wrote)
    loaded = load(path, deep_stem=True, library=reads, out_indices=(0, 1, 2, 3))
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(net.eval()(image)[-1], loaded.eval()(image)[-1])


def test_a_deep_stem_in_a_config_for_a_plain_one_is_reported(saved):
    _, path = saved(deep_stem=True)
    with pytest.raises(CheckpointError, match=r'deep stem .* deep_stem=True, or type='):
        load(path)


def test_a_plain_stem_in_a_config_for_a_deep_one_is_reported(saved):
    _, path = saved()
    with pytest.raises(CheckpointError, match=r'plain stem .*deep_stem.*avg_down'):
        load(path, type='XLearnerResNetV1c')


@pytest.mark.parametrize('wanted', ['XLearnerResNetV1c', 'XLearnerResNetV1d'])
def test_without_strict_all_but_stem_and_pooled_branches_is_loaded(saved, wanted):
    net, path = saved()
    start = dict(type='Pretrained', checkpoint=path, strict=False)
    deep = MODELS.build(tiny_resnet(type=wanted, init_cfg=start))
    deep.init_weights()
    own = {key: value for key, value in deep.state_dict().items() if not key.startswith('stem.')}
    if wanted.endswith('d'):
        own = {key: value for key, value in own.items() if 'downsample' not in key}
    assert own.keys() < net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in own.items())


@pytest.mark.parametrize('pools', [True, False])
def test_another_downsampling_is_reported(saved, pools):
    _, path = saved(deep_stem=True, avg_down=pools)
    with pytest.raises(CheckpointError, match=f'set avg_down={pools}'):
        load(path, deep_stem=True, avg_down=not pools)
