"""get_backbone: one line, no config."""

import doctest
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import xlearner_mm
from tests.export.conftest import NORMALIZATION
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.export import backbone, export_backbone
from xlearner_mm.testing import tiny_expanded, tiny_resnet

IMAGES = torch.linspace(-2, 2, 2 * 3 * 64 * 64).view(2, 3, 64, 64)


def check_same(ours, theirs):
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(ours(IMAGES), theirs(IMAGES), strict=True))


def test_the_examples_of_the_docstrings_hold(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_backbone(trained(tiny_resnet())[1], 'backbone.pth')
    for name, size in (('photo.jpg', (90, 70)), ('drawing.png', (64, 80))):
        Image.new('RGB', size, (200, 30, 90)).save(name)
    done = doctest.testmod(backbone)
    assert done.attempted >= 4
    assert done.failed == 0


@pytest.mark.slow
def test_importing_the_package_imports_no_module_of_export():
    code = 'import sys, xlearner_mm; print([m for m in sys.modules if m.startswith("xlearner_mm.export")])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == '[]'


def test_the_package_exports_only_the_public_functions():
    assert xlearner_mm.get_backbone is backbone.get_backbone
    with pytest.raises(AttributeError, match="no attribute 'get_spine'"):
        xlearner_mm.get_spine  # noqa: B018


@pytest.mark.parametrize('name', ['backbone.pth', 'backbone.safetensors'])
def test_export_stage_checkpoint_and_work_directory_agree(trained, tmp_path, name):
    own, checkpoint = trained(tiny_resnet())
    export_backbone(checkpoint, tmp_path / name)
    (tmp_path / 'last_checkpoint').write_text(checkpoint)
    for source in (tmp_path / name, checkpoint, tmp_path):
        check_same(xlearner_mm.get_backbone(source), own)


def test_a_pruned_backbone_of_one_branch_is_the_whole(trained, tmp_path):
    own, checkpoint = trained(tiny_expanded('shared', widths={'branches.shared.backbone.layer1.0.conv1': 3}))
    export_backbone(checkpoint, tmp_path / 'b.pth', expanded=True)
    for source in (checkpoint, tmp_path / 'b.pth'):
        check_same(xlearner_mm.get_backbone(source), own)
        with pytest.raises(CheckpointError, match="was pruned: branch 'shared'.*name no branch"):
            xlearner_mm.get_backbone(source, branch='shared')


@pytest.mark.parametrize(('format', 'base_channels'), [('torchvision', 64), ('timm', 8)])
def test_exports_for_other_libraries_are_read_with_the_metadata_beside_them(trained, tmp_path, format, base_channels):
    own, checkpoint = trained(dict(type='XLearnerResNet', depth=18, base_channels=base_channels))
    meta = export_backbone(checkpoint, tmp_path / 'b.pth', format=format)
    again = xlearner_mm.get_backbone(tmp_path / 'b.pth')
    assert again.meta == meta
    check_same(again, own)


def test_weights_that_are_not_those_the_metadata_beside_them_describes_are_refused(trained, tmp_path):
    _, checkpoint = trained(dict(type='XLearnerResNet', depth=18, base_channels=8))
    export_backbone(checkpoint, tmp_path / 'b.pth', format='timm')
    torch.save({'conv1.weight': torch.ones(1)}, tmp_path / 'b.pth')
    with pytest.raises(CheckpointError, match=r'b\.pth\.json .*other weights'):
        xlearner_mm.get_backbone(tmp_path / 'b.pth')


def test_an_expansion_checkpoint_gives_a_branch_or_the_whole(trained):
    own, checkpoint = trained(tiny_expanded('cls', 'det'))
    check_same(xlearner_mm.get_backbone(checkpoint), own)
    det = xlearner_mm.get_backbone(checkpoint, branch='det')
    check_same(det, own.branches['det'].backbone)
    assert (det.channels, det.meta['branch']) == ((4, 8, 16, 32), 'det')
    with pytest.raises(CheckpointError, match="has no branch 'seg', but"):
        xlearner_mm.get_backbone(checkpoint, branch='seg')


def test_the_only_branch_of_hard_sharing_is_the_backbone(trained):
    own, checkpoint = trained(tiny_expanded('shared', tasks=dict(cls='shared', det='shared')))
    check_same(xlearner_mm.get_backbone(checkpoint), own.branches['shared'].backbone)


def test_frozen_stays_frozen(trained):
    _, checkpoint = trained(tiny_resnet())
    frozen = xlearner_mm.get_backbone(checkpoint)
    within = torch.nn.Sequential(frozen).train()
    assert within.training
    assert not any(module.training for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    frozen(IMAGES)
    assert all(torch.equal(value, before[key]) for key, value in frozen.state_dict().items())


def test_not_frozen_it_trains(trained):
    _, checkpoint = trained(tiny_resnet())
    net = xlearner_mm.get_backbone(checkpoint, frozen=False)
    assert not net.training
    sum(level.sum() for level in net.train()(IMAGES)).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'backbone.branches.det.backbone.'])
def test_a_file_without_metadata_is_read_as_the_resnet_of_its_weights(trained, tmp_path, prefix):
    own, _ = trained(tiny_resnet(depth=34))
    path = tmp_path / 'detector.pth'
    state = {prefix + key: value for key, value in own.state_dict().items()}
    torch.save({'state_dict': {**state, 'bbox_head.weight': torch.ones(2)}, 'meta': {'iter': 3}}, path)
    read = xlearner_mm.get_backbone(path)
    check_same(read, own)
    assert (read.meta, read.normalization) == ({}, None)
    with pytest.raises(CheckpointError, match='not record .*normalization'):
        xlearner_mm.extract_features(path, torch.zeros(3, 64, 64))
    told = xlearner_mm.get_backbone(path, normalization=((0, 0, 0), (255, 255, 255), 'rgb'))
    assert xlearner_mm.extract_features(told, torch.zeros(3, 64, 64)).shape == (1, 32)


def test_torchvisions_own_file_is_read(tmp_path):
    theirs = torchvision.models.resnet18().eval()
    torch.save(theirs.state_dict(), tmp_path / 'resnet18-f37072fd.pth')
    last = xlearner_mm.get_backbone(tmp_path / 'resnet18-f37072fd.pth')(IMAGES)[-1]
    torch.testing.assert_close(theirs.fc(last.mean((2, 3))), theirs(IMAGES), atol=1e-5, rtol=1e-5)


def test_an_assumed_style_is_logged(trained, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(backbone, 'print_log', lambda line, *_: said.append(line))
    for depth in (18, 50):
        own, _ = trained(tiny_resnet(depth=depth))
        torch.save(own.state_dict(), tmp_path / 'bare.pth')
        xlearner_mm.get_backbone(tmp_path / 'bare.pth')
    [line] = said
    assert "style='pytorch'" in line
    assert "'depth': 50" in line


def test_an_unknown_file_format_needs_a_config(trained, tmp_path):
    deep, _ = trained(tiny_resnet(deep_stem=True))
    torch.save(deep.state_dict(), tmp_path / 'deep.pth')
    with pytest.raises(CheckpointError, match=r'deep\.pth .*describe.*backbone=dict\('):
        xlearner_mm.get_backbone(tmp_path / 'deep.pth')
    check_same(xlearner_mm.get_backbone(tmp_path / 'deep.pth', backbone=tiny_resnet(deep_stem=True)), deep)


def test_a_config_of_an_unknown_type_is_named(trained):
    _, checkpoint = trained(tiny_resnet())
    with pytest.raises(ValueError, match=r"'ResNet'.* .*registered.*type='mmdet.ResNet'"):
        xlearner_mm.get_backbone(checkpoint, backbone=dict(type='ResNet', depth=18))


def test_a_config_may_be_given(trained, tmp_path):
    own, checkpoint = trained(tiny_resnet())
    bare = tmp_path / 'bare.pth'
    torch.save(own.state_dict(), bare)
    told = xlearner_mm.get_backbone(bare, backbone=tiny_resnet())
    check_same(told, own)
    with pytest.raises(CheckpointError, match='normalization='):
        told.normalize(IMAGES)
    with pytest.raises(ValueError, match='ema .*chosen'):
        xlearner_mm.get_backbone(checkpoint, backbone=tiny_resnet(), ema=True)
    wrong = tiny_resnet(base_channels=8)
    with pytest.raises(CheckpointError, match='another shape'):
        xlearner_mm.get_backbone(bare, backbone=wrong)


def test_a_loaded_backbone_can_be_traced(trained):
    _, checkpoint = trained(tiny_resnet())
    net = xlearner_mm.get_backbone(checkpoint)
    traced = torch.jit.trace(net, IMAGES)
    check_same(traced, net)


PICTURE = (np.arange(48 * 64 * 3).reshape(48, 64, 3) * 7 % 256).astype(np.uint8)


@pytest.fixture
def net(trained):
    return xlearner_mm.get_backbone(trained(tiny_resnet())[1])


def by_hand(net, picture):
    """Features of an RGB array by torch alone."""
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in NORMALIZATION[:2])
    image = (torch.from_numpy(picture).permute(2, 0, 1).float() - mean) / std
    with torch.no_grad():
        return net.net(image[None])


def test_images_of_all_types_are_normalized_as_by_hand(net, tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / 'p.png')
    chw = torch.from_numpy(PICTURE).permute(2, 0, 1)
    kinds = [str(tmp_path / 'p.png'), tmp_path / 'p.png', Image.fromarray(PICTURE), PICTURE, chw, chw / 255]
    features = xlearner_mm.extract_features(net, kinds, size=None, batch_size=4)
    wanted = by_hand(net, PICTURE)[-1].mean((2, 3))
    torch.testing.assert_close(features, wanted.expand(len(kinds), -1), rtol=1e-4, atol=1e-5)
    for one in (kinds[0], PICTURE, chw, PICTURE[None], chw[None], iter([PICTURE])):
        torch.testing.assert_close(xlearner_mm.extract_features(net, one, size=None), wanted, rtol=1e-4, atol=1e-5)


def test_a_backbone_trained_on_bgr_gets_bgr(trained):
    _, bgr = trained(tiny_resnet(), normalization=[*NORMALIZATION[:2], 'bgr'])
    seen = []
    net = xlearner_mm.get_backbone(bgr)
    net.net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    xlearner_mm.extract_features(net, PICTURE, size=None)
    red, mean, std = PICTURE[..., 0].astype(np.float32), NORMALIZATION[0][2], NORMALIZATION[1][2]
    np.testing.assert_allclose(seen[0][0, 2].numpy(), (red - mean) / std, rtol=1e-5, atol=1e-5)


def test_maps_of_several_levels(net):
    maps = xlearner_mm.extract_features(net, [PICTURE, PICTURE], size=None, levels=(0, -1), pooled=False)
    for ours, wanted in zip(maps, (by_hand(net, PICTURE)[i] for i in (0, -1)), strict=True):
        torch.testing.assert_close(ours, wanted.expand(2, -1, -1, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('size', 'shape'), [(32, (8, 8)), ((64, 96), (16, 24)), (None, (12, 16))])
def test_sizes(net, size, shape):
    assert xlearner_mm.extract_features(net, PICTURE, size=size, levels=0, pooled=False).shape == (1, 4, *shape)


def test_images_of_different_sizes_can_be_pooled_but_not_stacked(net):
    sizes = [PICTURE, PICTURE[:32], PICTURE[:32]]
    assert xlearner_mm.extract_features(net, sizes, size=None).shape == (3, 32)
    with pytest.raises(ValueError, match='differ in size.*give size'):
        xlearner_mm.extract_features(net, sizes, size=None, pooled=False)


def test_train_mode_of_a_backbone_is_restored(trained):
    net = xlearner_mm.get_backbone(trained(tiny_resnet())[1], frozen=False).train()
    net.net.layer1.eval()
    before = [module.training for module in net.modules()]
    first, second = (xlearner_mm.extract_features(net, PICTURE) for _ in range(2))
    assert torch.equal(first, second)
    assert [module.training for module in net.modules()] == before


@pytest.mark.parametrize(
    ('images', 'settings', 'message'),
    [
        ([], {}, 'no images'),
        (PICTURE, dict(levels=4), r'levels \[4\] .* 4'),
        (PICTURE, dict(batch_size=0), '^batch_size must be at least 1, got 0$'),
        (PICTURE[..., 0], {}, r'must be RGB \(H, W, 3\) of uint8'),
        ([PICTURE / 255], {}, 'of float64'),
        (torch.randn(3, 8, 8), {}, 'floats between 0 and 1 that are not normalized yet'),
        (torch.rand(1, 8, 8), {}, r'must be RGB \(3, H, W\), got \(1, 8, 8\)'),
        ([7], {}, 'not int'),
        (Image.fromarray(np.zeros((8, 8), np.uint16)), {}, 'more than 8 bits per channel'),
    ],
)
def test_non_images_are_refused(net, images, settings, message):
    with pytest.raises(ValueError, match=message):
        xlearner_mm.extract_features(net, images, **settings)


def test_non_image_files_are_named(net, tmp_path):
    (tmp_path / 'notes.jpg').write_text('no picture')
    with pytest.raises(ConfigError, match=r'notes\.jpg .*image'):
        xlearner_mm.extract_features(net, tmp_path / 'notes.jpg')
    with pytest.raises(FileNotFoundError, match=r'absent\.jpg'):
        xlearner_mm.extract_features(net, tmp_path / 'absent.jpg')


def test_a_rotated_photograph_is_turned_upright(net, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(PICTURE).save(tmp_path / 'p.png', exif=exif)
    upright = np.rot90(PICTURE, k=-1)
    turned = xlearner_mm.extract_features(net, tmp_path / 'p.png', size=None)
    assert torch.equal(turned, xlearner_mm.extract_features(net, upright, size=None))
