import pytest
import torch

from tests.fixtures.checkpoints import write_published
from xlearner_mm.checkpoint.weights import PUBLISHED
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export.start import read_start
from xlearner_mm.flops import image_flops
from xlearner_mm.models import XLearnerResNet
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet

NORMALIZATION = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 'rgb']


def resnet(**settings):
    model = MODELS.build(tiny_resnet(**settings))
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.normal_()
    return model


def loads(start):
    model = MODELS.build(start.backbone())
    model.init_weights()
    return model.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize('name', [entry.name for entry in PUBLISHED])
def test_the_backbone_of_every_published_format_is_found_and_no_second_network(tmp_path, name):
    backbone = resnet().state_dict()
    write_published(tmp_path / 'published.pth', name, backbone)
    start = read_start(str(tmp_path / 'published.pth'))
    assert same(loads(start), backbone)
    assert start.parameters == sum(parameter.numel() for parameter in resnet().parameters())
    assert start.normalization() == {}


@pytest.mark.parametrize('name', [entry.name for entry in PUBLISHED])
def test_a_published_checkpoint_that_lacks_a_weight_is_refused(tmp_path, name):
    backbone = resnet().state_dict()
    del backbone['layer3.1.bn2.running_var']
    write_published(tmp_path / 'published.pth', name, backbone)
    with pytest.raises(CheckpointError, match=r'1 missing: layer3\.1\.bn2\.running_var'):
        loads(read_start(str(tmp_path / 'published.pth')))


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_depth_and_widths_are_read_off_the_weights(tmp_path, depth):
    with torch.device('meta'):
        shapes = MODELS.build(tiny_resnet(depth=depth)).state_dict()
    torch.save({key: torch.zeros(value.shape) for key, value in shapes.items()}, tmp_path / 'bare.pth')
    start = read_start(str(tmp_path / 'bare.pth'))
    assert {key: start.settings[key] for key in ('depth', 'stem_channels', 'base_channels')} == {
        'depth': depth,
        'stem_channels': 4,
        'base_channels': 4,
    }
    assert start.channels == tuple(width * (4 if depth >= 50 else 1) for width in (4, 8, 16, 32))


def test_other_backbones_than_plain_resnets_are_refused(tmp_path):
    state = {key: value for key, value in resnet().state_dict().items() if not key.startswith('layer4')}
    torch.save(state, tmp_path / 'short.pth')
    with pytest.raises(CheckpointError, match=r'holds no plain ResNet: \(2, 2, 2\) blocks of 2 convolutions'):
        read_start(str(tmp_path / 'short.pth'))
    torch.save({'patch_embed.weight': torch.zeros(1)}, tmp_path / 'vit.pth')
    with pytest.raises(CheckpointError, match='vit.pth holds no ResNet'):
        read_start(str(tmp_path / 'vit.pth'))


@pytest.fixture
def expansion(tmp_path):
    """A checkpoint of the expansion stage."""
    config = tiny_expanded('cls', 'det')
    model = MODELS.build(config)
    described = {'stage': 'expansion', 'backbone': config, 'sources': {}, 'normalization': NORMALIZATION}
    state = {f'backbone.{key}': value for key, value in model.state_dict().items()}
    torch.save({'state_dict': state, 'meta': {'xlearner': described}}, tmp_path / 'expansion.pth')
    return model, str(tmp_path / 'expansion.pth')


def test_an_expansion_checkpoint_gives_all_branches_or_the_given_one(expansion):
    model, path = expansion
    whole = read_start(path)
    assert whole.expanded
    assert whole.channels == (8, 16, 32, 64)
    assert same(loads(whole), model.state_dict())
    det = read_start(path, 'det')
    assert not det.expanded
    assert same(loads(det), model.branches.det.backbone.state_dict())


def test_a_pruned_backbone_is_transferred_as_a_whole(trained):
    model, path = trained(tiny_expanded('shared', widths={'branches.shared.backbone.layer1.0.conv1': 3}))
    start = read_start(path)
    assert start.channels == (4, 8, 16, 32)
    assert same(loads(start), model.state_dict())
    with pytest.raises(CheckpointError, match="was pruned: branch 'shared'.*name no branch"):
        read_start(path, 'shared')


def test_an_unknown_branch_is_refused(expansion):
    with pytest.raises(CheckpointError, match=r"branches \['cls', 'det'\]: it has no 'seg'"):
        read_start(expansion[1], 'seg')


def test_the_training_normalization_is_recorded(expansion, tmp_path):
    assert read_start(expansion[1]).normalization() == {'mean': NORMALIZATION[0], 'std': NORMALIZATION[1]}
    content = torch.load(expansion[1], weights_only=True)
    content['meta']['xlearner']['normalization'][2] = 'bgr'
    torch.save(content, tmp_path / 'bgr.pth')
    with pytest.raises(CheckpointError, match='images are BGR'):
        read_start(str(tmp_path / 'bgr.pth')).normalization()


def test_flops_are_the_multiply_adds_that_papers_give():
    assert image_flops(XLearnerResNet(50)) == pytest.approx(4.09e9, rel=2e-3)
