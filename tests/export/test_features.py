"""extract_features: images of every kind, normalized as recorded."""

import numpy as np
import pytest
import torch
from PIL import Image

import xlearner_mm
from tests.export.conftest import NORMALIZATION
from xlearner_mm.errors import ConfigError
from xlearner_mm.testing import tiny_resnet

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


def test_all_kinds_of_images_give_what_normalizing_by_hand_gives(net, tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / 'p.png')
    chw = torch.from_numpy(PICTURE).permute(2, 0, 1)
    kinds = [str(tmp_path / 'p.png'), tmp_path / 'p.png', Image.fromarray(PICTURE), PICTURE, chw, chw / 255]
    features = xlearner_mm.extract_features(net, kinds, size=None, batch_size=4)
    wanted = by_hand(net, PICTURE)[-1].mean((2, 3))
    torch.testing.assert_close(features, wanted.expand(len(kinds), -1), rtol=1e-4, atol=1e-5)
    for one in (kinds[0], PICTURE, chw, PICTURE[None], chw[None], iter([PICTURE])):
        torch.testing.assert_close(xlearner_mm.extract_features(net, one, size=None), wanted, rtol=1e-4, atol=1e-5)


def test_a_backbone_that_saw_bgr_is_given_bgr(trained):
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


def test_a_backbone_in_training_is_left_as_it_was(trained):
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
        (PICTURE, dict(levels=4), r'levels \[4\] are not of this backbone, which gives out 4'),
        (PICTURE, dict(batch_size=0), '^batch_size must be at least 1, got 0$'),
        (PICTURE[..., 0], {}, r'must be RGB \(H, W, 3\) of uint8'),
        ([PICTURE / 255], {}, 'of float64'),
        (torch.randn(3, 8, 8), {}, 'floats between 0 and 1 that are not normalized yet'),
        (torch.rand(1, 8, 8), {}, r'must be RGB \(3, H, W\), got \(1, 8, 8\)'),
        ([7], {}, 'not int'),
        (Image.fromarray(np.zeros((8, 8), np.uint16)), {}, 'more than 8 bits per channel'),
    ],
)
def test_what_is_no_image_is_refused(net, images, settings, message):
    with pytest.raises(ValueError, match=message):
        xlearner_mm.extract_features(net, images, **settings)


def test_files_that_are_no_images_are_named(net, tmp_path):
    (tmp_path / 'notes.jpg').write_text('no picture')
    with pytest.raises(ConfigError, match=r'notes\.jpg cannot be read as an image'):
        xlearner_mm.extract_features(net, tmp_path / 'notes.jpg')
    with pytest.raises(FileNotFoundError, match=r'absent\.jpg'):
        xlearner_mm.extract_features(net, tmp_path / 'absent.jpg')


def test_a_picture_taken_sideways_is_put_upright(net, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(PICTURE).save(tmp_path / 'p.png', exif=exif)
    upright = np.rot90(PICTURE, k=-1)
    turned = xlearner_mm.extract_features(net, tmp_path / 'p.png', size=None)
    assert torch.equal(turned, xlearner_mm.extract_features(net, upright, size=None))
