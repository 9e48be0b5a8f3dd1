"""Record of a training in its work directory, for both stages."""

import hashlib
import json
import re
import subprocess

import mmengine
import pytest
import torch

import xlearner_mm
from xlearner_mm.engine import XLearnerRunner
from xlearner_mm.engine.hooks import run_record_hook as module
from xlearner_mm.engine.hooks.run_record_hook import RECORD, add_start, git_state, read_starts
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


def test_the_initialization_of_weights_is_recorded(tmp_path):
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


def test_a_resumed_training_records_its_start_and_changes(tmp_path):
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
    assert 'run.json: changed since the last start: data.cars.fingerprint' in log()


def test_a_damaged_record_ends_the_training_before_its_first_step(tmp_path):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / RECORD).write_text('{')
    with pytest.raises(ConfigError, match=r'run\.json.*damaged'):
        train(tmp_path / 'work')


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit, and its commit."""
    root = tmp_path / 'repository'
    (root / 'package').mkdir(parents=True)
    (root / 'package' / 'code.py').write_text('a = 1\n')
    git(root, 'init', '-q')
    git(root, 'add', '.')
    git(root, '-c', 'user.name=x', '-c', 'user.email=x@y', 'commit', '-q', '-m', 'one')
    return root, git(root, 'rev-parse', 'HEAD')


def git(folder, *arguments):
    done = subprocess.run(['git', '-C', str(folder), *arguments], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def test_the_commit_of_a_clean_repository(repository):
    root, commit = repository
    assert git_state(root / 'package') == dict(
        repository=str(root), commit=commit, dirty=False, diff_sha256=None
    )  # fmt: skip


def test_changed_files_have_different_digests(repository):
    root, commit = repository
    seen = []
    for text in ('a = 2\n', 'a = 3\n'):
        (root / 'package' / 'code.py').write_text(text)
        state = git_state(root)
        assert (state['commit'], state['dirty']) == (commit, True)
        seen.append(state['diff_sha256'])
    assert len(set(seen)) == 2
    assert git_state(root)['diff_sha256'] == seen[-1]


def test_a_directory_outside_of_a_repository_is_recorded(tmp_path):
    assert 'not a git repository' in git_state(tmp_path)['none']


def test_a_missing_git_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert 'git is not installed' in git_state(tmp_path)['none']


def test_a_hanging_git_does_not_block_training(tmp_path, monkeypatch):
    (tmp_path / 'git').write_text('#!/bin/sh\nexec sleep 60\n')
    (tmp_path / 'git').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    monkeypatch.setattr(module, 'SECONDS', 0.5)
    assert 'git takes longer than 0.5 s' in git_state(tmp_path)['none']


def test_a_repository_without_commits_is_recorded(tmp_path):
    git(tmp_path, 'init', '-q')
    assert 'HEAD' in git_state(tmp_path)['none']


FIRST = dict(time='1', command='train', iteration=0, versions=dict(torch='2.11'), data=dict(birds=dict(images=8)))


def test_every_start_is_kept_in_order(tmp_path):
    assert read_starts(tmp_path) == []
    assert add_start(tmp_path, FIRST) == []
    add_start(tmp_path, dict(FIRST, iteration=4))
    assert [start['iteration'] for start in read_starts(tmp_path)] == [0, 4]
    assert json.loads((tmp_path / RECORD).read_text())['starts'][0] == FIRST


def test_differences_to_the_previous_start_are_named(tmp_path):
    add_start(tmp_path, FIRST)
    assert add_start(tmp_path, dict(FIRST, time='2', command='train --resume', iteration=4)) == []
    again = dict(FIRST, versions=dict(torch='2.12'), data=dict(birds=dict(images=9), cars=dict(images=3)))
    assert add_start(tmp_path, again) == ['versions.torch', 'data.birds.images', 'data.cars']


@pytest.mark.parametrize('content', ['', '{"starts":', '[]', '{}'])
def test_a_damaged_record_is_named_and_not_overwritten(tmp_path, content):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(ConfigError, match=r'run\.json.*damaged.*move it'):
        add_start(tmp_path, FIRST)
    assert (tmp_path / RECORD).read_text() == content
