"""Damage to a checkpoint's file never becomes other weights."""

import random

import pytest
import torch

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.errors import CheckpointError


@pytest.fixture
def saved(tmp_path):
    content = dict(state_dict={f'layer{i}.weight': torch.rand(7, 11) for i in range(5)}, meta=dict(iter=3))
    torch.save(content, tmp_path / 'iter_3.pth')
    return tmp_path / 'iter_3.pth', content


def test_any_flipped_bit_is_detected_or_harmless(saved):
    path, content = saved
    whole, found, draw = path.read_bytes(), 0, random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            read = read_checkpoint(str(path))
        except CheckpointError:
            found += 1
        else:
            assert read['meta'] == content['meta']
            for key, value in content['state_dict'].items():
                assert torch.equal(read['state_dict'][key], value)
    assert found > 40


def test_torch_alone_would_read_flipped_weights(saved):
    path, content = saved
    whole = path.read_bytes()
    place = whole.index(content['state_dict']['layer2.weight'].numpy().tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    read = torch.load(path, weights_only=True)['state_dict']['layer2.weight']
    assert not torch.equal(read, content['state_dict']['layer2.weight'])
    with pytest.raises(CheckpointError, match=r'is damaged: its record .*data/2 has changed'):
        read_checkpoint(str(path))


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_detected(saved, share):
    path, _ = saved
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError):
        read_checkpoint(str(path))
