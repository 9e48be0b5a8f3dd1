"""A study runs only missing runs of its ledger, and never mixes runs of other configs."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from tools.study import parse_args
from xlearner_mm.errors import ConfigError
from xlearner_mm.experiments.study import STUDIES, Ledger, Run, _jobs, current, record, run_study
from xlearner_mm.experiments.variants import MINI, MINI_SOURCES

ROOT = Path(__file__).parents[2]
RUN = Run('links', 'ConvLink', 0, 'abc', '1234', {'digits': 50.0}, 10.0, 450, 3.0)


@pytest.fixture(autouse=True)
def inside_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_ledger_returns_the_runs_that_were_added_once_each(tmp_path):
    ledger = Ledger(tmp_path / 'new' / 'ledger.jsonl')
    assert ledger.read() == []
    for run in (RUN, replace(RUN, seed=1), RUN):
        ledger.add(run)
    assert ledger.read() == [RUN, replace(RUN, seed=1)]


@pytest.mark.parametrize('line', ['{"study": "links"', '{"study": "links"}', '[1]'])
def test_a_damaged_line_is_named_by_its_number(tmp_path, line):
    ledger = Ledger(tmp_path / 'ledger.jsonl')
    ledger.add(RUN)
    with ledger.path.open('a') as file:
        file.write(line + '\n')
    with pytest.raises(ConfigError, match=r'ledger\.jsonl.*line 2'):
        ledger.read()


def test_runs_of_other_configs_are_not_mixed_in():
    study = STUDIES['links']
    own = replace(RUN, digest=study.digest('ConvLink'))
    assert current([RUN, own, replace(own, row='gone'), replace(own, study='mini')], study) == [own]


def test_a_digest_depends_on_all_settings_and_not_on_the_machine(monkeypatch):
    study = STUDIES['links']
    digests = {row: study.digest(row) for row in study.seeds}
    assert len(set(digests.values())) == len(digests)
    link = study.family.trainings['ConvLink']
    changed = replace(link, options={**link.options, 'optim_wrapper.optimizer.lr': 1.0})
    monkeypatch.setitem(study.family.trainings, 'ConvLink', changed)
    assert study.digest('ConvLink') != digests['ConvLink']
    assert study.digest('PoolLink') == digests['PoolLink']


def test_a_digest_does_not_depend_on_the_variables_of_a_config(monkeypatch):
    study = STUDIES['links']
    digest = study.digest('ConvLink')
    link = study.family.trainings['ConvLink']
    monkeypatch.setitem(study.family.trainings, 'ConvLink', replace(link, options={**link.options, 'a_variable': 1}))
    assert study.digest('ConvLink') == digest


@pytest.mark.parametrize('study', STUDIES.values(), ids=STUDIES)
def test_rows_are_variants_and_are_compared_to_rows(study):
    assert set(study.seeds) <= set(study.family.variants)
    assert set(study.baselines) <= set(study.seeds)


@pytest.mark.parametrize('source', MINI_SOURCES)
def test_a_model_of_one_source_sees_as_much_of_it_as_hard_sharing(source):
    training = STUDIES['mini'].family.trainings[f'single_{source}']
    alone, shared = (Config.fromfile(MINI.configs / config) for config in (training.config, 'hard_sharing_r18.py'))
    alone.merge_from_dict(dict(training.options))
    assert alone.sources == {source: shared.sources[source]}
    assert (alone.train_cfg, alone.param_scheduler) == (shared.train_cfg, shared.param_scheduler)
    assert STUDIES['mini'].sources_of(f'single_{source}') == {source}


def test_a_run_is_recorded_after_all_its_jobs(tmp_path):
    jobs = {job.name: job for job in _jobs(STUDIES['mini'], ['xlearner'], tmp_path / 'mini/seed_2', 2, None, Path('l'))}
    needs = set(jobs['record/xlearner'].needs)
    assert {f'stages/{name}' for name in MINI.trainings_of('xlearner')} <= needs
    assert {f'xlearner/{entry.config.stem}/seed_2' for entry in STUDIES['mini'].sets} <= needs
    digest = STUDIES['mini'].digest('xlearner')
    assert jobs['record/xlearner'].command[-6:] == ('--work-dir', str(tmp_path), '--ledger', 'l', '--digest', digest)
    assert jobs['record/xlearner'].repeat, 'a line that was lost comes back'


def test_a_run_whose_configs_were_edited_meanwhile_is_not_recorded(tmp_path):
    with pytest.raises(ConfigError, match='configs of row scratch were edited while it ran'):
        record('mini', 'scratch', 0, tmp_path, tmp_path / 'ledger.jsonl', digest='of before')
    assert not (tmp_path / 'ledger.jsonl').exists()


def test_a_study_without_transfers_trains_only(tmp_path):
    jobs = {job.name for job in _jobs(STUDIES['links'], ['PoolLink'], tmp_path / 'links/seed_0', 0, None, Path('l'))}
    assert jobs == {'data/source', 'stages/PoolLink', 'budget/PoolLink', 'record/PoolLink'}


def test_a_study_without_transfers_keeps_the_exports_that_trainings_read(tmp_path):
    study = replace(STUDIES['mini'], judged_by='sources')
    jobs = {job.name: job for job in _jobs(study, ['xlearner_pp'], tmp_path / 'mini/seed_0', 0, None, Path('l'))}
    assert 'stages/digits_r18/export' in jobs
    assert 'xlearner_pp/export' not in jobs
    assert all(need in jobs for job in jobs.values() for need in job.needs)


def test_every_row_is_finished_before_the_next_begins(tmp_path):
    names = [job.name for job in _jobs(STUDIES['squeeze'], ['default', 'mixup'], tmp_path, 0, None, Path('l'))]
    assert names.index('record/default') < names.index('stages/mixup')
    assert names.count('stages/xlearner_seg_r18_expansion') == 1


def test_the_tool_offers_every_study():
    assert f'choices={tuple(STUDIES)}' in Path('tools/study.py').read_text()


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ([], 'name a study, or --report'),
        (['mini', '--report'], 'name a study, or --report'),
        (['mini', '--workers', '0'], '--workers must be at least 1'),
        (['mini', '--seeds', '0'], '--seeds must be at least 1'),
    ],
)
def test_the_tool_refuses_to_do_nothing(monkeypatch, capsys, words, said):
    monkeypatch.setattr('sys.argv', ['study.py', *words])
    with pytest.raises(SystemExit, match='2'):
        parse_args()
    assert said in capsys.readouterr().err


def test_a_trial_of_a_few_steps_leaves_the_study_s_own_trainings_alone(tmp_path, monkeypatch):
    folders = []

    def runner(jobs, folder, *_, **__):
        folders.append(folder)
        return SimpleNamespace(run=lambda: SimpleNamespace(status=0))

    monkeypatch.setattr('xlearner_mm.experiments.study.JobRunner', runner)
    for steps in (None, 3):
        run_study('links', rows=['PoolLink'], seeds=1, work_dir=tmp_path, ledger=tmp_path / 'ledger.jsonl', steps=steps)
    assert len(set(folders)) == 2


def test_a_trial_of_a_few_steps_is_not_recorded(tmp_path):
    jobs = [job.name for job in _jobs(STUDIES['links'], ['PoolLink'], tmp_path, 0, 3, Path('l'))]
    assert not any(name.startswith('record') for name in jobs)


def test_every_line_of_the_committed_ledger_is_a_run():
    for line in Ledger().path.read_text().splitlines() if Ledger().path.exists() else []:
        assert Run(**json.loads(line)).metrics


def test_a_trial_of_a_few_steps_shortens_trainings_that_set_their_own_length(tmp_path):
    jobs = {job.name: job for job in _jobs(STUDIES['squeeze'], ['longest'], tmp_path, 0, 3, Path('l'))}
    assert 'train_cfg.max_iters=3' in jobs['stages/longest'].command
