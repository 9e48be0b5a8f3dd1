import numpy as np
import pytest
import torch
from PIL import Image

from xlearner_mm.errors import ConfigError
from xlearner_mm.visualization.feature_map import FeatureColors, Snapshot, draw_features, group_columns, take_snapshots
from xlearner_mm.visualization.trained_model import SampleImage, load_trained


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


def test_an_expansion_on_custom_images(trained, inside, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / 'own.png')
    draw_features(trained[:1], tmp_path / 'features.png', files=[tmp_path / 'own.png'])
    assert size_of(tmp_path / 'features.png')[0] > 300


def maps(count, channels=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, 3, generator=generator)
    return [torch.einsum('ck,khw->chw', mixing, torch.randn(3, 6, 5, generator=generator)) for _ in range(count)]


def test_colors_are_three_components_in_range():
    features = maps(4)
    colors = FeatureColors(features)(features[0])
    assert colors.shape == (6, 5, 3)
    assert colors.min() >= 0
    assert colors.max() <= 1
    assert colors.std(axis=(0, 1)).min() > 0.1, 'no channel is flat'


def test_equal_features_have_equal_colors():
    features = maps(3)
    colors = FeatureColors(features)
    flipped = colors(features[1].flip(-1))
    assert np.array_equal(flipped, colors(features[1])[:, ::-1])


def test_distances_of_colors_are_those_of_features():
    # three directions hold all there is: nothing is lost but the ends of the range
    features = maps(3)
    colors = FeatureColors(features)
    near, far = features[0] + 0.01 * features[1], features[0] + features[1]
    distance = [np.abs(colors(other) - colors(features[0])).mean() for other in (near, far)]
    assert 0 < distance[0] < 0.1 * distance[1]


def test_one_extreme_position_does_not_gray_out_the_others():
    features = maps(6)
    extreme = [feature.clone() for feature in features]
    extreme[0][:, 0, 0] *= 1000
    plain, spoiled = FeatureColors(features), FeatureColors(extreme)
    assert spoiled(features[1]).std() > 0.5 * plain(features[1]).std()


def test_a_constant_feature_has_one_color():
    dead = torch.zeros(8, 4, 4)
    assert np.unique(FeatureColors([dead])(dead)).size == 1


def maps_of(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 6, 6, generator=generator) for _ in range(2)]


def squeeze(label, seed, teacher='teacher.pth'):
    return Snapshot(
        label, teacher, {'cls': maps_of(0), 'det': maps_of(1)}, {'cls': maps_of(seed), 'det': maps_of(1)}, maps_of(seed)
    )


def titles(groups):
    return {group.title: [column.title for column in group.columns] for group in groups}


def test_one_squeezes_branches_are_shown_once_and_its_student_at_every_step():
    groups = group_columns([squeeze('step 1', 5), squeeze('step 2', 6)])
    guided = ['$F$', '$G(\\hat{F})$\nstep 1', '$G(\\hat{F})$\nstep 2']
    assert titles(groups) == {'cls': guided, 'det': guided, 'student $\\hat{F}$': ['step 1', 'step 2']}


def test_equal_features_of_student_and_branch_have_equal_colors():
    cls, det, _ = group_columns([squeeze('step 1', 5)])
    assert all(np.array_equal(*pair) for pair in zip(det.columns[0].maps, det.columns[1].maps, strict=True))
    assert not np.allclose(cls.columns[0].maps[0], cls.columns[1].maps[0])


def test_more_checkpoints_do_not_change_colors():
    (alone, *_), (among, *_) = (group_columns(s) for s in ([squeeze('a', 5)], [squeeze('a', 5), squeeze('b', 6)]))
    for column in range(2):
        assert np.array_equal(alone.columns[column].maps[1], among.columns[column].maps[1])


def test_expansion_checkpoints_show_their_own_branches():
    steps = [Snapshot(f'step {seed}', f'{seed}.pth', {'cls': maps_of(seed)}, {}, []) for seed in (1, 2)]
    assert titles(group_columns(steps)) == {'cls': ['step 1', 'step 2']}


def test_a_student_is_shown_beside_its_teachers():
    groups = group_columns([squeeze('x', 5, 'one.pth'), squeeze('y', 6, 'two.pth'), squeeze('z', 7, 'one.pth')])
    assert titles(groups)['cls'] == ['$F$ x', '$G(\\hat{F})$\nx', '$G(\\hat{F})$\nz', '$F$ y', '$G(\\hat{F})$\ny']


def test_padding_is_left_out(trained):
    image = SampleImage('wide', np.zeros((32, 64, 3), np.uint8), torch.randn(1, 3, 64, 96))
    (at_0, at_2) = take_snapshots(load_trained(trained[1]), 'step 3', [image], [0, 2])
    assert at_0.teachers['det'][0].shape[-2:] == at_0.student[0].shape[-2:] == (8, 16)
    assert at_2.guided['seg'][0].shape[-2:] == (2, 4)
    assert at_0.teachers_of == trained[0]


def test_a_missing_level_is_named(trained):
    image = SampleImage('small', np.zeros((32, 32, 3), np.uint8), torch.randn(1, 3, 32, 32))
    with pytest.raises(ConfigError, match=r"iter_2.pth: level 4 of 'cls' .* only \[0, 1, 2, 3\]"):
        take_snapshots(load_trained(trained[0]), 'step 2', [image], [4])
