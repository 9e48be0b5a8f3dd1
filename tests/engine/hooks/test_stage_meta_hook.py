"""Metadata in checkpoints of a stage, and resuming from checkpoints of the same stage only."""

import pytest
import torch
from mmengine.model import BaseModel

import xlearner_mm
from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.testing import tiny_expanded

from ..tiny_runner import tiny_runner
from ..tiny_squeeze import tiny_squeeze, write_teacher

HOOK = dict(type='StageMetaHook')


class Nameless(BaseModel):
    """A model of neither stage."""

    def forward(self, *args, **kwargs):
        """Nothing."""


def test_checkpoint_metadata_is_plain_data(tmp_path):
    tiny_runner(tmp_path, [HOOK], max_iters=1).train()
    recorded = torch.load(tmp_path / 'iter_1.pth', weights_only=False)['meta']['xlearner']
    assert recorded == {
        'stage': 'expansion',
        'backbone': tiny_expanded(),
        'tasks': {'cls': 'cls', 'det': 'det', 'seg': 'seg'},
        'sources': {'birds': 'cls', 'cars': 'cls', 'boxes': 'det', 'masks': 'seg'},
        'normalization': [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 'rgb'],
        'hints': {},
        'xlearner_mm_version': xlearner_mm.__version__,
    }


def test_a_squeeze_records_its_teacher(tmp_path):
    teacher = write_teacher(tmp_path / 'teacher.pth')
    run = tiny_runner(tmp_path / 'squeeze', [HOOK], model=tiny_squeeze(teacher), max_iters=1)
    run.train()
    recorded = torch.load(tmp_path / 'squeeze' / 'iter_1.pth', weights_only=False)['meta']['xlearner']
    assert (recorded['stage'], recorded['backbone']) == ('squeeze', tiny_squeeze(teacher)['student'])
    assert recorded['teacher'] == dict(checkpoint=teacher['checkpoint'], sha256=run.model.teacher.sha256)


def test_a_checkpoint_of_the_other_stage_is_not_resumed(tmp_path):
    tiny_runner(tmp_path / 'expansion', [HOOK], max_iters=1).train()
    model = tiny_squeeze(write_teacher(tmp_path / 'teacher.pth'))
    path = str(tmp_path / 'expansion' / 'iter_1.pth')
    squeeze = tiny_runner(tmp_path / 'squeeze', [HOOK], model=model, load_from=path, resume=True)
    with pytest.raises(CheckpointError, match='expansion stage.*squeeze stage'):
        squeeze.train()


def test_a_changed_teacher_is_refused_without_the_hook_in_the_config(tmp_path):
    def train(teacher, **kwargs):
        model = tiny_squeeze(teacher)
        tiny_runner(tmp_path / 'squeeze', [], model=model, max_iters=1, runner=XLearnerRunner, **kwargs).train()

    train(write_teacher(tmp_path / 'teacher.pth'))
    other = write_teacher(tmp_path / 'teacher.pth', seed=9)
    with pytest.raises(CheckpointError, match='teacher.pth.*SHA-256.*changed'):
        train(other, resume=True)


def test_other_models_are_refused(tmp_path):
    with pytest.raises(ConfigError, match='StageMetaHook.*ExpansionLearner.*FitNetDistiller.*Nameless'):
        tiny_runner(tmp_path, [HOOK], model=Nameless()).call_hook('before_run')
