"""Any backbone in a transfer config: modules that read its levels are resized, everything else is unchanged."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import xlearner_mm  # noqa: F401  (mmseg's configs are found by name)
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export.start import read_start
from xlearner_mm.registry import MODELS, DefaultScope
from xlearner_mm.testing import tiny_expanded, tiny_resnet
from xlearner_mm.transfer.set_config import fit_backbone

CONFIGS = Path(__file__).parents[2] / 'configs'
MINI = {task: CONFIGS / 'mini' / 'transfer' / f'{task}_{name}.py' for task, name in
        {'cls': 'letters', 'det': 'voc_mini', 'seg': 'voc_mini', 'depth': 'nyu_mini'}.items()}  # fmt: skip
PAPER = {
    'det': CONFIGS / 'transfer' / 'det' / 'det_voc0712.py',
    'seg': CONFIGS / 'transfer' / 'seg' / 'seg_voc12.py',
    'depth': CONFIGS / 'transfer' / 'depth' / 'depth_nyu.py',
    'cls': CONFIGS / 'transfer' / 'cls' / 'cls_pets.py',
}
NORMALIZATION = [[120.0, 110.0, 100.0], [60.0, 50.0, 40.0], 'rgb']


@pytest.fixture(scope='module')
def starts(tmp_path_factory):
    """A wider ResNet-18, and an expanded backbone of two narrow ones."""
    folder = tmp_path_factory.mktemp('starts')
    wide = MODELS.build(dict(type='XLearnerResNet', depth=18, stem_channels=8, base_channels=32))
    torch.save({'state_dict': wide.state_dict()}, folder / 'wide.pth')
    config = tiny_expanded(branches={name: tiny_resnet(base_channels=16) for name in ('cls', 'det')})
    described = {'stage': 'expansion', 'backbone': config, 'sources': {}, 'normalization': NORMALIZATION}
    state = {f'backbone.{key}': value for key, value in MODELS.build(config).state_dict().items()}
    torch.save({'state_dict': state, 'meta': {'xlearner': described}}, folder / 'expanded.pth')
    return {name: read_start(str(folder / f'{name}.pth')) for name in ('wide', 'expanded')}


def fitted(config, start):
    cfg = Config.fromfile(config)
    fit_backbone(cfg, start)
    return cfg.model


@pytest.mark.parametrize('name', ['wide', 'expanded'])
def test_the_readers_of_every_task_are_sized_for_it(starts, name):
    start = starts[name]
    assert start.channels == (32, 64, 128, 256)
    assert fitted(PAPER['det'], start).neck.in_channels == [32, 64, 128, 256]
    segmentor = fitted(PAPER['seg'], start)
    assert segmentor.decode_head.in_channels == [32, 64, 128, 256]
    assert segmentor.auxiliary_head.in_channels == 128
    assert fitted(PAPER['depth'], start).decode_head.in_channels == [32, 64, 128 + 256]
    classifier = fitted(PAPER['cls'], start)
    assert classifier.neck[1].input_features == classifier.head.in_channels == 256


def test_modules_behind_a_neck_keep_their_size(starts):
    """FPN returns 256 channels, as many as the first level of a ResNet-50."""
    model, stock = fitted(PAPER['det'], starts['wide']), Config.fromfile(PAPER['det']).model
    for part in ('rpn_head', 'roi_head'):
        assert model[part] == stock[part]
    assert model.neck.out_channels == 256


@pytest.mark.parametrize('name', ['wide', 'expanded'])
@pytest.mark.parametrize('task', MINI)
def test_the_network_is_built_and_runs_from_its_weights(starts, name, task):
    cfg = Config.fromfile(MINI[task])
    fit_backbone(cfg, starts[name])
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        network = MODELS.build(copy.deepcopy(cfg.model))
        network.init_weights()
    content = torch.load(starts[name].checkpoint, weights_only=True)['state_dict']
    own = network.backbone.state_dict()
    assert all(torch.equal(own[key.removeprefix('backbone.')], value) for key, value in content.items())
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    images = torch.zeros(2, 3, 64, 64)
    assert network.eval()(images, mode='tensor') is not None


def test_settings_of_a_downstream_backbone_are_kept(starts):
    for name in starts:
        backbone = fitted(PAPER['cls'], starts[name]).backbone
        assert (backbone.out_indices, backbone.frozen_stages, backbone.norm_eval) == ((3,), 4, True)
        backbone = fitted(PAPER['det'], starts[name]).backbone
        assert (backbone.frozen_stages, backbone.norm_eval) == (1, True)


def test_images_are_normalized_as_it_was_trained(starts):
    preprocessor = fitted(PAPER['det'], starts['expanded']).data_preprocessor
    assert (list(preprocessor.mean), list(preprocessor.std)) == (NORMALIZATION[0], NORMALIZATION[1])
    assert preprocessor.bgr_to_rgb
    assert (
        fitted(PAPER['det'], starts['wide']).data_preprocessor == Config.fromfile(PAPER['det']).model.data_preprocessor
    )


def test_a_module_of_a_width_that_no_level_has_is_named(starts):
    cfg = Config.fromfile(PAPER['det'])
    cfg.model.neck.in_channels = [256, 512, 1024, 4096]
    with pytest.raises(CheckpointError, match=r'FPN\.in_channels is \[256, 512, 1024, 4096\], but 4096 is no width'):
        fit_backbone(cfg, starts['wide'])
