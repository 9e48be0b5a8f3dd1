"""The whole call on tiny folders."""

import json
import os
from functools import partial

import pytest
import torch

import xlearner_mm
from tests.docs.pages import blocks
from xlearner_mm.engine.loggers import VARIABLE
from xlearner_mm.errors import ConfigError
from xlearner_mm.pretraining import run
from xlearner_mm.pretraining.plan import Plan
from xlearner_mm.pretraining.request import Request
from xlearner_mm.pretraining.run import PretrainingError

SHORT = {'steps': 3, 'workers': 0, 'backbone': 'resnet18-w8', 'device': 'cpu'}


@pytest.mark.slow
def test_folders_of_three_tasks_become_a_backbone_and_a_report(folders, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').mkdir()
    for given, own in (('birds', 'my notes'), ('traffic', 'signs'), ('streets', 'objects')):
        (tmp_path / 'data' / given).symlink_to(folders / own)
    monkeypatch.setattr(xlearner_mm, 'pretrain', partial(xlearner_mm.pretrain, **SHORT), raising=False)
    (shown,) = blocks('python', 'pretrain.md')
    exec(shown.text, namespace := {})
    made = namespace['backbone']
    assert made == tmp_path / 'work_dirs/mine/backbone.pth'
    printed = capfd.readouterr().out
    checkpoint = "checkpoint='work_dirs/mine/backbone.pth'"
    for word in ('check: done', 'expansion: done', 'squeeze: done', checkpoint, 'channels'):
        assert word in printed
    backbone = xlearner_mm.get_backbone(made)
    assert backbone.channels == (8, 16, 32, 64)
    assert backbone(torch.zeros(1, 3, 64, 64))[0].shape == (1, 8, 16, 16)
    out = made.parent
    report = (out / 'report.md').read_text()
    for picture in ('losses.png', 'squeeze.png', 'features.png', 'sources.png'):
        assert (out / picture).stat().st_size > 1000
        assert picture in report
    values = json.loads((out / 'report.json').read_text())
    assert [set(scores) for scores in values.values()] == [{'birds', 'traffic', 'streets'}] * 2

    weights = made.read_bytes()
    exec(shown.text, {})
    assert ': starts' not in capfd.readouterr().out
    assert made.read_bytes() == weights


def test_trackers_are_named_for_the_trainings_of_this_call_alone(tmp_path, monkeypatch):
    seen = []
    monkeypatch.delenv(VARIABLE, raising=False)
    made = Plan(Request({'cls': {'a': 'x'}}), {'a': 'cls'}, [], '', '', {'expansion': 1.0}, 'cpu')
    monkeypatch.setattr(run, 'open_plan', lambda *_: seen.append(('planning', os.environ.get(VARIABLE))) or made)
    monkeypatch.setattr(run, 'pretraining_jobs', lambda *_: [])
    monkeypatch.setattr(run, 'run_jobs', lambda *_: seen.append(('training', os.environ.get(VARIABLE))) or 1 / 0)
    for log in ('tensorboard', ['tensorboard'], ()):
        with pytest.raises(ZeroDivisionError):
            xlearner_mm.pretrain(cls=[tmp_path], out=tmp_path, log=log)
    of_a_call = [('planning', None), ('training', 'tensorboard')]
    assert seen == [*of_a_call, *of_a_call, ('planning', None), ('training', None)]
    assert VARIABLE not in os.environ
    seen.clear()
    with pytest.raises(ConfigError, match="'visdom'"):
        xlearner_mm.pretrain(cls=[tmp_path], out=tmp_path, log='visdom')
    assert not seen, 'refused before anything is planned'


@pytest.mark.slow
def test_one_source_is_trained_and_exported(folders, tmp_path, capfd):
    made = xlearner_mm.pretrain(cls={'notes': folders / 'my notes'}, out=tmp_path, **SHORT)
    assert xlearner_mm.get_backbone(made).channels == (8, 16, 32, 64)
    printed = capfd.readouterr().out
    assert 'note: one source' in printed
    assert 'squeeze' not in printed.replace('and squeeze work', '')
    assert (tmp_path / 'features.png').exists()


@pytest.mark.slow
def test_a_failed_job_is_named_with_its_log(folders, tmp_path):
    xlearner_mm.pretrain(cls={'notes': folders / 'my notes'}, out=tmp_path, plan=True, **SHORT)
    source = tmp_path / 'sources/notes.py'
    source.write_text(source.read_text().replace("data_prefix='train'", "data_prefix='elsewhere'"))
    with pytest.raises(PretrainingError, match=r'check failed.*check\.log'):
        xlearner_mm.pretrain(cls={'notes': folders / 'my notes'}, out=tmp_path, **SHORT)
    assert 'elsewhere' in (tmp_path / 'logs/check.log').read_text()


@pytest.mark.slow
def test_a_budget_is_met_by_measured_steps(folders, tmp_path, capfd):
    settings = {key: value for key, value in SHORT.items() if key != 'steps'}
    assert xlearner_mm.pretrain(cls=[folders / 'my notes'], out=tmp_path, plan=True, budget='5m', **settings) is None
    printed = capfd.readouterr().out
    assert 'measure: done' in printed
    assert 's of a measured step' in printed
    assert 's a validation, measured' in ' '.join(printed.split())
    assert not (tmp_path / 'measure').exists()


def test_a_home_folder_is_meant_by_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(ConfigError, match=rf'--out {tmp_path}/birds/out is in the folder of source'):
        xlearner_mm.pretrain(cls='~/birds', out='~/birds/out', plan=True)
