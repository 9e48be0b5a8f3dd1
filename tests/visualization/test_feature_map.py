import numpy as np
from PIL import Image

from xlearner_mm.visualization.feature_map import draw_features


def size_of(path):
    with Image.open(path) as picture:
        picture.load()
        return picture.size


def test_a_squeeze_over_time_at_two_levels(trained, inside, tmp_path):
    draw_features(trained[1:], tmp_path / 'new' / 'both.png', levels=(0, 2), sources=['shapes', 'seg_things'])
    draw_features(trained[1:2], tmp_path / 'one.png', levels=(0,), sources=['shapes', 'seg_things'])
    (both_width, both_height), (width, height) = size_of(tmp_path / 'new' / 'both.png'), size_of(tmp_path / 'one.png')
    assert both_width > 1.3 * width, 'a second step has columns of its own'
    assert both_height > 1.9 * height, 'a second level has rows of its own'


def test_an_expansion_on_ones_own_pictures(trained, inside, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / 'own.png')
    draw_features(trained[:1], tmp_path / 'features.png', files=[tmp_path / 'own.png'])
    assert size_of(tmp_path / 'features.png')[0] > 300
