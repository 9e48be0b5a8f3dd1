"""Damaged files of every format we read give samples or named errors: no crash, no hang, no other error.

Each case damages one file of a valid source, reads the source and mends the file. A failing case names its seed, and
``fuzz(form, folder, [seed])`` makes it again.
"""

import faulthandler
import multiprocessing
import os
import random
import resource
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.datasets.mutations import mutated
from tests.datasets.small_sources import FORMS
from tests.fixtures import FIXTURES, write_fixtures
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.errors import SourceError

SECONDS = 200  # that one case may take on a busy machine; most take hundredths of one
MEMORY = 4 << 30  # bytes that the cases of one form may take
READ = 8  # images of a source that are read
PICTURES = ('.jpg', '.jpeg', '.png')
CONFIGS = Path(__file__).parents[3] / 'configs' / '_base_' / 'sources'
LOADERS = {'cls': [], 'det': [dict(type='LoadAnnotations', with_bbox=True)], 'seg': [dict(type='LoadAnnotations')]}
PACKS = {'cls': 'PackInputs', 'det': 'PackDetInputs', 'seg': 'PackSegInputs'}


@pytest.mark.parametrize('form', FORMS)
def test_damaged_files_give_samples_or_named_errors(tmp_path, form):
    assert fuzz(form, tmp_path, range(10)) == ''


@pytest.mark.slow
@pytest.mark.parametrize('form', [*FORMS, *FIXTURES])
def test_many_damaged_files_give_samples_or_named_errors(tmp_path, form):
    assert fuzz(form, tmp_path, range(10, 250 if form in FORMS else 130)) == ''


def test_a_crash_and_a_hang_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), '_run_case', lambda source, root, seed: os.kill(os.getpid(), 11))
    assert fuzz('class_list', tmp_path, [7]) == 'seed 7: the process died with status -11'
    monkeypatch.setitem(globals(), '_run_case', lambda source, root, seed: multiprocessing.Event().wait())
    monkeypatch.setitem(globals(), 'SECONDS', 0.1)
    assert fuzz('class_list', tmp_path, [7]) == 'seed 7: still running after 0.1 s'


def fuzz(form, folder, seeds):
    """Run cases in a process of their own, and return what went wrong first, or ''."""
    source = _write(form, folder)
    # The libraries of all forms are loaded before, once.
    os.chdir(folder)
    MultiSourceDataset({'pets': source})[0]
    here, there = multiprocessing.get_context('fork').Pipe(duplex=False)
    process = multiprocessing.get_context('fork').Process(target=_run_cases, args=(there, source, folder, seeds))
    process.start()
    there.close()
    seed = None
    try:
        # The first seed is sent before anything can hang.
        while seed is None or here.poll(SECONDS):
            seed, told = here.recv()
            if told is not None:
                return told
        return f'seed {seed}: still running after {SECONDS} s'
    except EOFError:
        process.join()
        return f'seed {seed}: the process died with status {process.exitcode}'
    finally:
        process.kill()
        process.join()


def _run_cases(connection, source, root, seeds):
    """Send each seed before its case, and the outcome at the end or at the first fault."""
    faulthandler.disable()  # a crash is reported by its seed
    limit = MEMORY + int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for seed in seeds:
        connection.send((seed, None))
        try:
            told = _run_case(source, root, seed)
        except BaseException as error:
            told = f'seed {seed}: {type(error).__name__}: {error}'
        if told:
            connection.send((seed, told))
            return
    connection.send((None, ''))


def _run_case(source, root, seed):
    generator = random.Random(seed)
    files = sorted(path for path in root.rglob('*') if path.is_file())
    annotations = [path for path in files if path.suffix.lower() not in PICTURES]
    # There are many pictures and few annotation files.
    chosen = generator.choice(annotations if annotations and generator.random() < 0.6 else files)
    valid = chosen.read_bytes()
    chosen.write_bytes(mutated(valid, generator))
    try:
        dataset = MultiSourceDataset({'pets': source})
        told = [_read(dataset, index, root, chosen) for index in range(min(len(dataset), READ))]
        return next((f'seed {seed}: {text}' for text in told if text), '')
    except SourceError as error:
        return '' if _names(error, root, chosen) else f'seed {seed}: unnamed: {error}'
    finally:
        chosen.write_bytes(valid)


def _read(dataset, index, root, chosen):
    try:
        assert dataset[index]['data']['inputs'].numel() > 0
    except SourceError as error:
        return '' if _names(error, root, chosen) else f'unnamed: {error}'
    return ''


def _names(error, root, chosen):
    """An error tells the source and the damaged picture, or after damaged annotations a file of the data set."""
    if not str(error).startswith("source 'pets': "):
        return False
    if chosen.suffix.lower() in PICTURES:
        return chosen.name in str(error)
    return str(root) in str(error) or 'data/' in str(error)


def _write(form, root):
    """Write a valid source below ``root`` and return its settings."""
    if form in FORMS:
        return FORMS[form](root)
    write_fixtures(root / 'data', [form], images=2)
    source = Config.fromfile(CONFIGS / f'{form}.py')[form].to_dict()
    # What is tried is loading: the rest of the real pipelines takes far longer than the cases need.
    steps = [dict(type='LoadImageFromFile'), *LOADERS[source['task']], dict(type=PACKS[source['task']])]
    _replace_pipelines(source['dataset'], steps)
    return source


def _replace_pipelines(dataset, steps):
    for inner in [*dataset.get('datasets', ()), *([dataset['dataset']] if 'dataset' in dataset else [])]:
        _replace_pipelines(inner, steps)
    if 'pipeline' in dataset:
        dataset['pipeline'] = steps


@pytest.fixture(autouse=True)
def back_to_where_it_was():
    """Leave the working directory as it was."""
    here = Path.cwd()
    yield
    os.chdir(here)
