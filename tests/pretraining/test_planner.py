"""Planning: what it writes, and what a repeated command does with it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import xlearner_mm
from xlearner_mm.config.options import read_config
from xlearner_mm.errors import ConfigError, SourceError
from xlearner_mm.pretraining import planner as module
from xlearner_mm.pretraining.choices import Device
from xlearner_mm.pretraining.jobs import pretraining_jobs
from xlearner_mm.pretraining.lengths import OTHER_JOBS, Speed
from xlearner_mm.pretraining.plan import RECORD, digest_of
from xlearner_mm.pretraining.planner import open_plan
from xlearner_mm.pretraining.request import Request, named_folders
from xlearner_mm.pretraining.stage_files import SQUEEZE


def never(config, images, device):
    raise AssertionError('nothing is measured without a budget')


def request_of(folders, **settings):
    found = {'cls': named_folders([folders / 'my notes']), 'det': {'traffic': str(folders / 'signs')}}
    return Request(found, **{'epochs': 2.0, **settings})


@pytest.fixture(scope='module')
def planned(folders, tmp_path_factory):
    """A plan and its folder, which tests leave as it is."""
    out = tmp_path_factory.mktemp('planned')
    return open_plan(request_of(folders), out, never), out


@pytest.fixture
def copied(planned, tmp_path):
    """The same plan in a folder of the test's own."""
    made, out = planned
    for file in [*made.written, RECORD]:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text((out / file).read_text().replace(str(out), str(tmp_path)))
    record = json.loads((tmp_path / RECORD).read_text())
    record['written'] = {file: digest_of(tmp_path / file) for file in made.written}
    (tmp_path / RECORD).write_text(json.dumps(record))
    return tmp_path


@pytest.fixture
def replanned(monkeypatch):
    """Return the requests for which a plan is made again."""
    made = []
    monkeypatch.setattr(module._Planner, '__init__', lambda self, request, out: made.append(request))
    monkeypatch.setattr(module._Planner, 'make', lambda self, measure: made[-1])
    return made


def test_every_choice_is_a_line_of_the_file_it_names_with_its_reason(planned):
    made, out = planned
    assert {line.file for line in made.lines} == set(made.written)
    for line in made.lines:
        text = ' '.join((out / line.file).read_text().replace('\n# ', ' ').split())
        assert f'{line.setting} = ' in text
        assert f'{line.reason[1:]} {line.setting} = ' in text


def test_the_configs_are_those_of_the_folders(planned):
    made, out = planned
    cfg = read_config(str(out / 'squeeze.py'))
    assert made.sources == {'my_notes': 'cls', 'traffic': 'det'}
    assert cfg.sources.my_notes.network.head.num_classes == 10
    assert cfg.sources.traffic.dataset.data_root.endswith('signs')
    assert set(made.seconds) == {'expansion', 'squeeze'}
    assert 'GB' in made.summary


def test_the_plan_is_printed(planned, capsys):
    made, out = planned
    made.show(out)
    printed = capsys.readouterr().out
    for word in ('my_notes', 'class folders', 'sources/traffic.py', 'batch_size = ', 'lr = ', 'memory: about'):
        assert word in printed
    assert 'edited' not in printed


@pytest.mark.parametrize('out', ['', 'out', 'train/out'])
def test_files_are_not_written_among_the_images_of_a_source(folders, tmp_path, out):
    birds = {'cls': {'birds': str(tmp_path / 'birds')}}
    with pytest.raises(ConfigError, match=r"birds.* is in the folder of source 'birds'.*give a folder outside"):
        open_plan(Request(birds, steps=2), tmp_path / 'birds' / out, never)
    assert not (tmp_path / 'birds').exists()


def test_a_folder_that_cannot_be_written_to_is_named(folders):
    with pytest.raises(ConfigError, match='/proc/mine cannot be written to: .*; give another folder'):
        open_plan(request_of(folders), Path('/proc/mine'), never)


def test_the_same_command_looks_again_at_the_folders(folders, copied, replanned, capsys):
    open_plan(request_of(folders), copied, never)
    assert replanned == [request_of(folders)]
    assert 'as planned before' not in capsys.readouterr().out


def test_the_same_command_finds_its_plan_and_keeps_edits(folders, copied, replanned, capsys):
    (copied / 'expansion.py').write_text((copied / 'expansion.py').read_text() + 'lr = 0.5\n')
    found = open_plan(request_of(folders), copied, never)
    assert found.request == request_of(folders)
    assert not replanned
    assert read_config(str(copied / 'expansion.py')).lr == 0.5
    found.show(copied)
    printed = capsys.readouterr().out
    assert (
        f'as planned before, since it has edited configs (expansion.py); to look at the folders again, delete {copied}'
        in printed
    )
    assert 'expansion.py, edited since' in printed
    assert 'squeeze.py, edited since' not in printed


@pytest.mark.parametrize('begun', ['jobs.json', 'stages'])
def test_the_same_command_finds_its_plan_once_a_training_has_begun(folders, copied, replanned, capsys, begun):
    (copied / begun).mkdir()
    assert open_plan(request_of(folders), copied, never).request == request_of(folders)
    assert not replanned
    assert 'has begun; to look at the folders again, give another --out' in capsys.readouterr().out


def test_an_edit_trains_anew_what_reads_it(copied, planned):
    def fingerprints():
        return {job.name: job.fingerprint() for job in pretraining_jobs(planned[0], copied)}

    before = fingerprints()
    (copied / 'squeeze.py').write_text((copied / 'squeeze.py').read_text() + '# edited\n')
    assert {name for name, value in fingerprints().items() if value != before[name]} == {'squeeze'}
    source = copied / 'sources/traffic.py'
    source.write_text(source.read_text().replace('size = (64, 64)', 'size = (96, 96)'))
    changed = {name for name, value in fingerprints().items() if value != before[name]}
    assert changed == {'check', 'expansion', 'squeeze'}


def test_another_command_replaces_a_plan_that_nothing_was_done_with(folders, copied, replanned):
    open_plan(request_of(folders, seed=1), copied, never)
    assert replanned == [request_of(folders, seed=1)]


def test_another_command_does_not_touch_edited_configs(folders, copied, replanned):
    (copied / 'squeeze.py').write_text('# mine\n')
    with pytest.raises(ConfigError, match=r'edited.*squeeze\.py.*seed 0, not 1'):
        open_plan(request_of(folders, seed=1), copied, never)
    assert not replanned


def test_another_command_does_not_touch_a_pretraining_that_has_begun(folders, copied, replanned):
    (copied / 'jobs.json').write_text('{}')
    with pytest.raises(ConfigError, match=r'has begun.*folders.*another --out'):
        open_plan(Request({'cls': {'notes': str(folders / 'my notes')}}, epochs=2.0), copied, never)
    assert not replanned


def test_a_folder_of_something_else_is_left_alone(folders, tmp_path):
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(ConfigError, match=r'thesis\.tex'):
        open_plan(request_of(folders), tmp_path, never)


def test_a_missing_config_is_named(folders, copied):
    (copied / 'squeeze.py').unlink()
    with pytest.raises(ConfigError, match=r'squeeze\.py is missing'):
        open_plan(request_of(folders), copied, never)


def test_a_record_that_is_none_is_named(folders, copied):
    (copied / RECORD).write_text('{}')
    with pytest.raises(ConfigError, match=r'pretrain\.json'):
        open_plan(request_of(folders), copied, never)


def test_a_budget_is_divided_by_measured_steps(folders, tmp_path):
    measured = []

    def measure(config, images, device):
        measured.append(images)
        return Speed(step=0.25, validation=20.0)

    made = open_plan(request_of(folders, budget='10m', epochs=None), tmp_path, measure)
    assert measured == [{'my_notes': 10, 'traffic': 3}]
    steps = [read_config(str(tmp_path / f'{stage}.py')).max_iters for stage in ('expansion', 'squeeze')]
    assert made.seconds['expansion'] > 0.25 * steps[0] + 20, 'it starts and validates too'
    assert 0.7 * 600 < sum(made.seconds.values()) < 600 - sum(OTHER_JOBS.values())
    reason = next(line.reason for line in made.lines if line.setting == 'max_iters')
    assert '0.25 s a step and 20 s a validation, measured' in reason


def test_batches_shrink_to_the_memory_that_there_is(folders, planned, tmp_path, monkeypatch):
    small = Device('cpu', 'a small machine', 33e6, 1e10)  # the stages take 36 and 37 MB
    monkeypatch.setattr(module, 'find_device', lambda wanted: small)
    open_plan(request_of(folders), tmp_path, never)
    for name, source in read_config(str(tmp_path / 'expansion.py')).sources.items():
        before = read_config(str(planned[1] / 'expansion.py')).sources[name].batch_size
        assert source.batch_size == before // 2


def test_pixels_are_counted_for_the_weights_of_classes(folders, tmp_path):
    made = open_plan(Request({'seg': {'objects': str(folders / 'objects')}}, steps=2), tmp_path, never)
    head = read_config(str(tmp_path / 'expansion.py')).sources.objects.network.decode_head
    weights = dict(zip(range(head.num_classes), head.loss_decode.class_weight, strict=True))
    assert min(weights, key=weights.get) == 0, 'background'
    assert '% of the pixels' in next(line.reason for line in made.lines if line.setting == 'network')


def test_sources_of_one_task_share_a_branch_and_have_nothing_to_squeeze(folders, tmp_path):
    both = {'first': str(folders / 'my notes'), 'second': str(folders / 'my notes')}
    made = open_plan(Request({'cls': both}, steps=2), tmp_path, never)
    assert not (tmp_path / 'squeeze.py').exists()
    assert list(read_config(str(tmp_path / 'expansion.py')).model.backbone.branches) == ['cls']
    assert [job.name for job in pretraining_jobs(made, tmp_path)] == ['check', 'expansion', 'export', 'features']
    assert SQUEEZE not in made.stages
    for word in ('share one branch', '--det or --seg'):
        assert word in made.limits
    assert 'one source' in replace(made, sources={'first': 'cls'}).limits


def test_what_a_folder_lacks_is_said_in_one_line(tmp_path):
    with pytest.raises(SourceError, match=f"source 'birds': {tmp_path}/nowhere does not exist"):
        xlearner_mm.pretrain(cls={'birds': tmp_path / 'nowhere'}, out=tmp_path / 'out')


@pytest.mark.parametrize('out', ['taken', 'taken/below'])
def test_a_file_in_place_of_the_folder_is_named(folders, tmp_path, out):
    (tmp_path / 'taken').touch()
    with pytest.raises(ConfigError, match=f'{out}: .*taken is a file'):
        open_plan(request_of(folders), tmp_path / out, never)
