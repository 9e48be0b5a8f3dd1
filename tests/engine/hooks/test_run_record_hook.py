"""What a work directory says of its training, of either stage."""

import hashlib
import json
import re

import mmengine
import pytest
import torch

import xlearner_mm
from xlearner_mm.engine import XLearnerRunner
from xlearner_mm.engine.run_record import RECORD, read_starts
from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet

from ...soak.trainings import train_loader
from ..tiny_runner import image_sources, tiny_runner
from ..tiny_squeeze import tiny_squeeze, write_teacher

LAST = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))


def train(work_dir, **settings):
    runner = tiny_runner(work_dir, **{**dict(runner=XLearnerRunner, max_iters=1, default_hooks=LAST), **settings})
    runner.train()
    return read_starts(work_dir)[-1]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_versions_seed_machine_and_code_are_recorded(tmp_path):
    start = train(tmp_path / 'work', randomness=dict(seed=7))
    assert start['versions']['torch'] == torch.__version__
    assert start['versions']['mmengine'] == mmengine.__version__
    assert start['versions']['xlearner_mm'] == xlearner_mm.__version__
    assert (start['seed'], start['world_size'], start['workers'], start['iteration']) == (7, 1, 0, 0)
    assert start['deterministic'] is False
    assert re.match(r'cpu, \w+|.*NVIDIA', start['machine']['device'])
    assert start['teachers'] == start['started_from'] == {}
    assert start['git'].keys() == {'xlearner_mm', 'working_directory'}
    for state in start['git'].values():
        assert 'none' in state or re.fullmatch('[0-9a-f]{40}', state['commit'])


def test_a_working_directory_without_git_is_recorded_as_such(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert 'not a git repository' in train(tmp_path / 'work')['git']['working_directory']['none']


def test_the_data_of_every_source_are_recorded(tmp_path):
    data = train(tmp_path / 'work')['data']
    assert data.keys() == image_sources().keys()
    assert {entry['images'] for entry in data.values()} == {8}
    fewer = image_sources()
    fewer['cars']['dataset']['length'] = 7
    other = train(tmp_path / 'fewer', train_dataloader=train_loader(fewer))['data']
    assert [name for name in data if data[name] != other[name]] == ['cars']


def test_teachers_of_a_squeeze_are_recorded(tmp_path):
    teacher = write_teacher(tmp_path / 'teacher.pth')
    start = train(tmp_path / 'work', model=tiny_squeeze(teacher))
    path = tmp_path / 'teacher.pth'
    assert start['teachers'] == {'teacher': dict(checkpoint=str(path), sha256=sha256(path))}


def test_teachers_of_hints_are_recorded(tmp_path):
    path = tmp_path / 'birds.pth'
    torch.save(dict(state_dict=MODELS.build(tiny_resnet()).state_dict()), path)
    preprocessor = dict(image_sources()['birds']['network']['data_preprocessor'], _scope_='mmpretrain')
    hint = dict(model=tiny_resnet(), checkpoint=str(path), data_preprocessor=preprocessor)
    learner = dict(
        type='ExpansionLearner', backbone=tiny_expanded(), sources=image_sources(), hints=dict(birds=hint)
    )  # fmt: skip
    start = train(tmp_path / 'work', model=learner)
    assert start['teachers'] == {"hint teacher of source 'birds'": dict(checkpoint=str(path), sha256=sha256(path))}


def test_what_weights_started_from_is_recorded(tmp_path):
    teacher, weights = write_teacher(tmp_path / 'teacher.pth'), tmp_path / 'start.pth'
    torch.save(MODELS.build(tiny_resnet()).state_dict(), weights)
    pretrained = tiny_resnet(init_cfg=dict(type='Pretrained', checkpoint=str(weights)))
    said = dict(checkpoint=str(weights), sha256=sha256(weights))
    squeeze = dict(tiny_squeeze(teacher), student=pretrained)
    assert train(tmp_path / 'squeeze', model=squeeze)['started_from'] == {'model.student': said}
    backbone = tiny_expanded()
    backbone['branches']['det'] = pretrained
    learner = dict(type='ExpansionLearner', backbone=backbone, sources=image_sources())
    start = train(tmp_path / 'expansion', model=learner)
    assert start['started_from'] == {'model.backbone.branches.det.backbone': said}


def test_a_resumed_training_adds_its_start_and_says_what_has_changed(tmp_path):
    def log():
        return ''.join(path.read_text() for path in (tmp_path / 'work').glob('*/*.log'))

    train(tmp_path / 'work')
    start = train(tmp_path / 'work', max_iters=2, resume=True, log_level='WARNING')
    assert [each['iteration'] for each in read_starts(tmp_path / 'work')] == [0, 1]
    assert start['data'] == read_starts(tmp_path / 'work')[0]['data']
    assert 'changed since' not in log()
    record = json.loads((tmp_path / 'work' / RECORD).read_text())
    record['starts'][-1]['data']['cars']['fingerprint'] = 'another'
    (tmp_path / 'work' / RECORD).write_text(json.dumps(record))
    train(tmp_path / 'work', max_iters=3, resume=True, log_level='WARNING')
    assert 'changed since the start before: data.cars.fingerprint' in log()


def test_a_damaged_record_ends_the_training_before_its_first_step(tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / RECORD).write_text('{')
    with pytest.raises(ConfigError, match=r'run\.json is damaged'):
        train(tmp_path / 'work')
