"""Stages that were trained without the call: taken over, continued, or refused, and never deleted."""

import json
import os

import pytest

from xlearner_mm.checkpoint import sha256_of
from xlearner_mm.errors import ConfigError
from xlearner_mm.pipeline.state import JobStates
from xlearner_mm.pretraining.jobs import adopt_trainings, pretraining_jobs, stage_folder
from xlearner_mm.pretraining.plan import Plan
from xlearner_mm.pretraining.request import Request

CONFIG = "lr = 0.1\nlauncher = 'none'\ntrain_cfg = dict(max_iters=3)\n"
STAGES = ['expansion', 'squeeze']


@pytest.fixture
def jobs(tmp_path):
    for stage in STAGES:
        (tmp_path / f'{stage}.py').write_text(CONFIG)
    folders = {'cls': {'a': 'x'}, 'det': {'b': 'y'}}
    plan = Plan(Request(folders), {'a': 'cls', 'b': 'det'}, [], '', '', dict.fromkeys(STAGES, 1.0), 'cpu')
    return pretraining_jobs(plan, tmp_path)


def trained(out, stage, steps=3, config=CONFIG):
    """Leave what a training on several GPUs leaves."""
    folder = stage_folder(out, stage)
    folder.mkdir(parents=True)
    (folder / f'{stage}.py').write_text(config.replace('none', 'pytorch'))
    (folder / f'iter_{steps}.pth').write_text(f'{stage} {steps}')
    (folder / 'last_checkpoint').write_text(str(folder / f'iter_{steps}.pth'))
    if stage == 'squeeze':
        teacher = sha256_of((stage_folder(out, 'expansion') / 'last_checkpoint').read_text())
        (folder / 'run.json').write_text(json.dumps({'starts': [{'teachers': {'teacher': {'sha256': teacher}}}]}))


def states_of(jobs, out):
    """Return job -> whether it is finished, of those whose next start does not empty their folder."""
    states, prints = JobStates(out / 'jobs.json'), {}
    for job in jobs:
        prints[job.name] = job.fingerprint(prints[need] for need in job.needs)
    return {name: record.finished for name, record in states.records.items() if states.knows(name, prints[name])}


def test_finished_trainings_are_taken_over(jobs, tmp_path, capsys):
    for stage in STAGES:
        trained(tmp_path, stage)
    adopt_trainings(jobs, tmp_path)
    assert states_of(jobs, tmp_path) == {'expansion': True, 'squeeze': True}
    assert f'squeeze: as trained in {tmp_path}/stages/squeeze' in capsys.readouterr().out


def test_an_unfinished_training_is_continued(jobs, tmp_path):
    trained(tmp_path, 'expansion', steps=2)
    adopt_trainings(jobs, tmp_path)
    assert states_of(jobs, tmp_path) == {'expansion': False}


def test_a_training_after_an_edit_is_taken_over(jobs, tmp_path):
    states = JobStates(tmp_path / 'jobs.json')
    states.adopt('expansion', 'of the config before the edit', finished=True)
    os.utime(states.path, (1, 1))
    trained(tmp_path, 'expansion')
    adopt_trainings(jobs, tmp_path)
    assert states_of(jobs, tmp_path) == {'expansion': True}


def test_what_the_call_itself_has_trained_starts_over_after_an_edit(jobs, tmp_path):
    trained(tmp_path, 'expansion', config='lr = 0.2\n')
    states = JobStates(tmp_path / 'jobs.json')
    states.adopt('expansion', 'of the config before the edit', finished=True)
    adopt_trainings(jobs, tmp_path)
    assert states_of(jobs, tmp_path) == {}


def test_a_training_of_another_config_is_refused(jobs, tmp_path):
    trained(tmp_path, 'expansion', config=CONFIG.replace('0.1', '0.2'))
    with pytest.raises(ConfigError, match=r'stages/expansion holds .* another lr: move .*expansion\.py'):
        adopt_trainings(jobs, tmp_path)


def test_a_student_of_another_teacher_is_refused(jobs, tmp_path):
    for stage in STAGES:
        trained(tmp_path, stage)
    (stage_folder(tmp_path, 'expansion') / 'iter_3.pth').write_text('trained again')
    with pytest.raises(ConfigError, match='stages/squeeze holds .* another teacher'):
        adopt_trainings(jobs, tmp_path)
