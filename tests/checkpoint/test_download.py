"""Addresses in stock configs: `torchvision://resnet50` and its like, in every config that names nothing else."""

import pytest
import torch

from xlearner_mm.checkpoint import read_checkpoint
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
        ('https://example.org/nets/mine-0123abcd.pth?download=1', 'mine-0123abcd.pth'),
    ],
)
def test_an_address_is_read_from_the_cache_like_a_file(cache, address, file):
    weights = XLearnerResNet(18, deep_stem='v1c' in address).state_dict()
    torch.save(weights, cache / file)
    net = XLearnerResNet(18, deep_stem='v1c' in address, init_cfg=dict(type='Pretrained', checkpoint=address))
    net.init_weights()
    assert torch.equal(net.layer4[0].conv1.weight, weights['layer4.0.conv1.weight'])


def test_addresses_with_the_same_file_name_are_different_files(cache, monkeypatch):
    calls = []

    def download(url, path, hash_prefix=None, progress=True):
        calls.append((url, hash_prefix))
        torch.save({'w': torch.tensor(float(len(calls)))}, path)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    addresses = [
        'https://example.org/a/resolve/main/part-00001.pth',
        'https://example.org/b/resolve/main/part-00001.pth',
        'https://example.org/get/part-00001.pth?model=c',
    ]
    for _ in range(2):
        assert [float(read_checkpoint(address)['w']) for address in addresses] == [1, 2, 3]
    assert calls == [(address, None) for address in addresses]
    assert len(list(cache.rglob('part-00001.pth'))) == 3


def test_without_network_the_place_for_the_file_is_named(cache):
    with pytest.raises(CheckpointError, match=r'torchvision://resnet18 .*fetched.* file at'):
        start('torchvision://resnet18')


def test_an_unknown_name_is_an_error(cache):
    with pytest.raises(CheckpointError, match='open-mmlab://resnet19: MMEngine.* no model'):
        start('open-mmlab://resnet19')
