import numpy as np
import torch

from xlearner_mm.visualization.feature_map import FeatureColours


def maps(count, channels=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, 3, generator=generator)
    return [torch.einsum('ck,khw->chw', mixing, torch.randn(3, 6, 5, generator=generator)) for _ in range(count)]


def test_colours_are_three_components_in_range():
    features = maps(4)
    colours = FeatureColours(features)(features[0])
    assert colours.shape == (6, 5, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert colours.std(axis=(0, 1)).min() > 0.1, 'no channel is flat'


def test_equal_features_have_equal_colours_wherever_they_are():
    features = maps(3)
    colours = FeatureColours(features)
    flipped = colours(features[1].flip(-1))
    assert np.array_equal(flipped, colours(features[1])[:, ::-1])


def test_the_distance_of_colours_is_that_of_features():
    # three directions hold all there is: nothing is lost but the ends of the range
    features = maps(3)
    colours = FeatureColours(features)
    near, far = features[0] + 0.01 * features[1], features[0] + features[1]
    distance = [np.abs(colours(other) - colours(features[0])).mean() for other in (near, far)]
    assert 0 < distance[0] < 0.1 * distance[1]


def test_one_extreme_position_does_not_make_all_others_grey():
    features = maps(6)
    extreme = [feature.clone() for feature in features]
    extreme[0][:, 0, 0] *= 1000
    plain, spoiled = FeatureColours(features), FeatureColours(extreme)
    assert spoiled(features[1]).std() > 0.5 * plain(features[1]).std()


def test_a_feature_that_is_the_same_everywhere_has_one_colour():
    dead = torch.zeros(8, 4, 4)
    assert np.unique(FeatureColours([dead])(dead)).size == 1
