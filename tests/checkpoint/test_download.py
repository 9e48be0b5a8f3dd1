"""Addresses in stock configs: `torchvision://resnet50` and its like, in every config that names nothing else."""

import pytest
import torch

from xlearner_mm.errors import CheckpointError
from xlearner_mm.models import XLearnerResNet


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of torch's, and no network."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))

    def refuse(url, *args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', refuse)
    (tmp_path / 'checkpoints').mkdir()
    return tmp_path / 'checkpoints'


def start(address, depth=18):
    net = XLearnerResNet(depth, init_cfg=dict(type='Pretrained', checkpoint=address))
    net.init_weights()
    return net


@pytest.mark.parametrize(
    ('address', 'file'),
    [
        ('torchvision://resnet18', 'resnet18-f37072fd.pth'),
        ('open-mmlab://resnet18_v1c', 'resnet18_v1c-b5776b93.pth'),
        ('https://example.org/nets/mine.pth?download=1', 'mine.pth'),
    ],
)
def test_an_address_is_read_from_the_cache_like_a_file(cache, address, file):
    weights = XLearnerResNet(18, deep_stem='v1c' in address).state_dict()
    torch.save(weights, cache / file)
    net = XLearnerResNet(18, deep_stem='v1c' in address, init_cfg=dict(type='Pretrained', checkpoint=address))
    net.init_weights()
    assert torch.equal(net.layer4[0].conv1.weight, weights['layer4.0.conv1.weight'])


def test_without_network_the_place_for_the_file_is_named(cache):
    with pytest.raises(CheckpointError, match=r'torchvision://resnet18 .*fetched.* file at'):
        start('torchvision://resnet18')


def test_an_unknown_name_is_an_error(cache):
    with pytest.raises(CheckpointError, match='open-mmlab://resnet19: MMEngine.* no model'):
        start('open-mmlab://resnet19')
