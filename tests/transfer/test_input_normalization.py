"""A backbone sees in every transfer config what it was trained on, or the config is refused with the right setting."""

from pathlib import Path

import pytest
import torch

from tests.export.conftest import description
from xlearner_mm.datasets.channel_order import agreed_order
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export import export_backbone
from xlearner_mm.export.start import read_start
from xlearner_mm.models.data_preprocessor import channel_settings, swaps_channels, tell_loaded_order
from xlearner_mm.registry import MODELS, DefaultScope
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.set_config import set_config
from xlearner_mm.transfer.suite import transfer_sets

CONFIGS = Path(__file__).parents[2] / 'configs'
SETS = {
    f'{folder.parent.name}-{entry.name}': entry
    for folder in (CONFIGS / 'transfer', CONFIGS / 'mini' / 'transfer')
    for entry in transfer_sets(folder)
}
RESNET = dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16)


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """An export, with all that exports record."""
    folder = tmp_path_factory.mktemp('export')
    state = {f'student.{key}': value for key, value in MODELS.build(RESNET).state_dict().items()}
    torch.save({'state_dict': state, 'meta': {'xlearner': description(RESNET)}}, folder / 'iter_9.pth')
    export_backbone(str(folder / 'iter_9.pth'), folder / 'backbone.pth')
    return read_start(str(folder / 'backbone.pth'))


@pytest.mark.parametrize('name', SETS)
def test_an_export_is_accepted_and_swapped_channels_are_refused(start, tmp_path, name):
    cfg = set_config(SETS[name].config, tmp_path, start, Protocol())
    loaders = dict(training=cfg.train_dataloader, validation=cfg.val_dataloader, test=cfg.test_dataloader)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        order = agreed_order({split: loader.dataset for split, loader in loaders.items()}, name)
        network = torch.nn.Module()
        network.data_preprocessor = MODELS.build(cfg.model.data_preprocessor)
        network.backbone = MODELS.build(cfg.model.backbone)
    assert order == ('rgb' if 'cifar' in name else 'bgr')
    tell_loaded_order(network.data_preprocessor, order)
    network.backbone.init_weights()

    swap = 'to_rgb' if cfg.default_scope == 'mmpretrain' else '_channel_conversion'
    setattr(network.data_preprocessor, swap, not swaps_channels(network.data_preprocessor))
    mended = channel_settings(network.data_preprocessor, 'rgb')
    assert mended == ('to_rgb=False' if 'cifar' in name else mended.split('=')[0] + '=True')
    with pytest.raises(CheckpointError, match=f'channels rgb.*loaded in {order}.*channels bgr.*{mended}'):
        network.backbone.init_weights()
