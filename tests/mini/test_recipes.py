from __future__ import annotations

import numpy as np

from xlearner_mm.mini.catalog import IGNORE, Box, Instance
from xlearner_mm.mini.recipes import RECIPES, label_map, tight_box
from xlearner_mm.mini.stencil import Pose, polygon


def block(label, x0, y0, x1, y1):
    visible = np.zeros((64, 64), dtype=bool)
    visible[y0:y1, x0:x1] = True
    return Instance(label, Box(x0, y0, x1, y1), visible)


def test_boxes_are_tight_around_what_is_visible():
    for index in range(20):
        sample = RECIPES['voc_seg_mini'](np.random.default_rng(index), index, False)
        for instance in sample.instances:
            assert tight_box(instance.visible) == instance.box
        assert sample.instances[0].label == index % 5


def test_objects_do_not_share_pixels():
    for index in range(20):
        sample = RECIPES['det_shapes'](np.random.default_rng(index), index, False)
        assert sum(o.visible.astype(int) for o in sample.instances).max() == 1


def test_label_map_ignores_one_pixel_at_the_outline():
    mask = label_map((block(2, 10, 20, 16, 26),))
    assert (mask[21:25, 11:15] == 3).all()
    assert (mask == 3).sum() == 16
    assert (mask == IGNORE).sum() == 36 - 16
    assert (mask == 0).sum() == 64 * 64 - 36


def test_label_map_separates_objects_of_one_class():
    mask = label_map((block(0, 10, 10, 20, 20), block(0, 20, 10, 30, 20)))
    assert (mask[10:20, 19:21] == IGNORE).all()


def test_overlap_is_of_the_smaller_box():
    assert Box(0, 0, 10, 10).overlap(Box(5, 0, 7, 10)) == 1
    assert Box(0, 0, 10, 10).overlap(Box(5, 5, 15, 15)) == 0.25
    assert Box(0, 0, 10, 10).overlap(Box(10, 0, 20, 10)) == 0


def test_a_pose_turns_counterclockwise_and_scales():
    left_half = polygon(((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
    mask = left_half.mask(Pose(32, 32, 40)) > 0.5
    assert tight_box(mask) == Box(12, 12, 32, 52)
    turned = left_half.mask(Pose(32, 32, 40, angle=90)) > 0.5
    assert tight_box(turned) == Box(12, 32, 52, 52)
