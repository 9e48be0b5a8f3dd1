import numpy as np
import pytest
import torch

from xlearner_mm.errors import ConfigError
from xlearner_mm.visualization.feature_map import Snapshot, group_columns, take_snapshots
from xlearner_mm.visualization.trained_model import SampleImage, load_trained


def maps(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 6, 6, generator=generator) for _ in range(2)]


def squeeze(label, seed, teacher='teacher.pth'):
    return Snapshot(label, teacher, {'cls': maps(0), 'det': maps(1)}, {'cls': maps(seed), 'det': maps(1)}, maps(seed))


def titles(groups):
    return {group.title: [column.title for column in group.columns] for group in groups}


def test_one_squeezes_branches_are_shown_once_and_its_student_at_every_step():
    groups = group_columns([squeeze('step 1', 5), squeeze('step 2', 6)])
    guided = ['$F$', '$G(\\hat{F})$\nstep 1', '$G(\\hat{F})$\nstep 2']
    assert titles(groups) == {'cls': guided, 'det': guided, 'student $\\hat{F}$': ['step 1', 'step 2']}


def test_where_the_student_has_the_branchs_feature_it_has_its_colour():
    cls, det, _ = group_columns([squeeze('step 1', 5)])
    assert all(np.array_equal(*pair) for pair in zip(det.columns[0].maps, det.columns[1].maps, strict=True))
    assert not np.allclose(cls.columns[0].maps[0], cls.columns[1].maps[0])


def test_more_checkpoints_change_no_colour_of_branch_or_guided_features():
    (alone, *_), (among, *_) = (group_columns(s) for s in ([squeeze('a', 5)], [squeeze('a', 5), squeeze('b', 6)]))
    for column in range(2):
        assert np.array_equal(alone.columns[column].maps[1], among.columns[column].maps[1])


def test_expansion_checkpoints_show_their_own_branches():
    steps = [Snapshot(f'step {seed}', f'{seed}.pth', {'cls': maps(seed)}, {}, []) for seed in (1, 2)]
    assert titles(group_columns(steps)) == {'cls': ['step 1', 'step 2']}


def test_a_student_stands_beside_the_branches_it_was_distilled_from():
    groups = group_columns([squeeze('x', 5, 'one.pth'), squeeze('y', 6, 'two.pth'), squeeze('z', 7, 'one.pth')])
    assert titles(groups)['cls'] == ['$F$ x', '$G(\\hat{F})$\nx', '$G(\\hat{F})$\nz', '$F$ y', '$G(\\hat{F})$\ny']


def test_what_images_were_padded_with_is_left_out(trained):
    image = SampleImage('wide', np.zeros((32, 64, 3), np.uint8), torch.randn(1, 3, 64, 96))
    (at_0, at_2) = take_snapshots(load_trained(trained[1]), 'step 3', [image], [0, 2])
    assert at_0.teachers['det'][0].shape[-2:] == at_0.student[0].shape[-2:] == (8, 16)
    assert at_2.guided['seg'][0].shape[-2:] == (2, 4)
    assert at_0.teachers_of == trained[0]


def test_a_level_that_is_not_there_is_named(trained):
    image = SampleImage('small', np.zeros((32, 32, 3), np.uint8), torch.randn(1, 3, 32, 32))
    with pytest.raises(ConfigError, match=r"iter_2.pth: level 4 of 'cls' is not there to look at, only \[0, 1, 2, 3\]"):
        take_snapshots(load_trained(trained[0]), 'step 2', [image], [4])
