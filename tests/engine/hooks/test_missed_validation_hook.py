"""A training interrupted between a checkpoint and its validation makes up for it."""

import pytest

from ..toy_training import trained

SCORES = range(1, 13)
DYNAMIC = dict(val_begin=2, val_interval=5, dynamic_intervals=[(6, 1), (9, 4)])


@pytest.mark.parametrize('train_cfg', [{}, DYNAMIC], ids=['every', 'dynamic'])
@pytest.mark.parametrize('unit', ['step', 'epoch'])
def test_every_validation_is_made_once(tmp_path, unit, train_cfg):
    settings = {f'{unit}s': 12, 'scores': SCORES, 'train_cfg': train_cfg}
    straight = trained(tmp_path / 'straight', **settings).val_loop.validated
    assert straight == ([5, 6, 7, 8, 12] if train_cfg else list(range(1, 13)))
    for at in (5, 7, 12):
        folder = tmp_path / f'{at}'
        first = trained(folder, hooks=[dict(type='InterruptHook', **{unit: at})], **settings).val_loop.validated
        assert first + trained(folder, resume='auto', **settings).val_loop.validated == straight, at
