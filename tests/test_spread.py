"""Shares of a dataset: classes keep theirs, where every image has one."""

import numpy as np
import pytest
from mmengine.dataset import BaseDataset

from xlearner_mm.spread import classes_to_draw_by, stratified


class Labeled(BaseDataset):
    """As mmpretrain's: labels are lists where an image has several."""

    def __init__(self, labels):
        self.labels = labels
        super().__init__()

    def load_data_list(self):
        return [dict(gt_label=label) for label in self.labels]

    def get_gt_labels(self):
        return np.array([self.get_data_info(index)['gt_label'] for index in range(len(self))])


@pytest.mark.parametrize(
    ('labels', 'classes'),
    [
        ([2, 0, 2], [2, 0, 2]),
        ([np.int64(1), 0], [1, 0]),
        ([[0, 1], [1, 2], [0, 2]], [0, 0, 0]),
        ([[0], [1, 2]], [0, 0]),
    ],
)
def test_images_of_one_label_are_drawn_by_class_and_others_from_all(labels, classes):
    assert classes_to_draw_by(Labeled(labels)).tolist() == classes


def test_a_share_of_images_with_several_labels_is_one_of_the_images():
    drawn = stratified(classes_to_draw_by(Labeled([[0, 1]] * 8)), 0.5, np.random.default_rng(0))
    assert len(drawn) == 4
    assert set(drawn) <= set(range(8))
