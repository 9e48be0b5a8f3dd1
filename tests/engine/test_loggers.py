"""Trackers by one option: each has the numbers of the text log; a missing package is one line before training."""

import importlib
import json
import struct

import pytest

from xlearner_mm.engine import loggers
from xlearner_mm.engine.launch import launch
from xlearner_mm.engine.loggers import LOGGERS, VARIABLE, add_loggers, log_to
from xlearner_mm.errors import ConfigError

from .test_doors import training
from .tiny_squeeze import validation

STEPS = 4
BLOCK = 32768
SETTINGS = dict(
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=STEPS, val_interval=2),
    default_hooks=dict(
        logger=dict(type='LoggerHook', interval=2, log_metric_by_epoch=False),
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=100, save_last=False),
    ),
    log_processor=dict(by_epoch=False, window_size=1),
    randomness=dict(seed=0),
    log_level='WARNING',
    **validation(),
)


@pytest.fixture(autouse=True)
def no_trackers_left(monkeypatch):
    monkeypatch.setenv(VARIABLE, '')


@pytest.fixture
def with_package(monkeypatch):
    """Import a tracker; some change the environment of the process."""
    monkeypatch.setenv('MLFLOW_TRACKING_URI', '')
    return importlib.import_module


def train(folder, log, **settings):
    return launch('train', training(folder, **{**SETTINGS, **settings}), str(folder / 'work'), log=log)


def logged(folder):
    """Return key -> step -> value of the training's own log."""
    found = {}
    for line in next(folder.glob('work/*/vis_data/scalars.json')).read_text().splitlines():
        record = json.loads(line)
        step = record.pop('step')
        for key, value in record.items():
            found.setdefault(key, {})[step] = value
    return found


def backends_of(cfg):
    return [backend['type'] for backend in cfg.visualizer.vis_backends]


def test_tensorboard_of_a_config_without_it(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train(tmp_path, ['tensorboard']) == 0
    events = EventAccumulator(str(next(tmp_path.glob('work/*/vis_data'))))
    events.Reload()
    for name in ('loss', 'birds/score'):
        found = {event.step: event.value for event in events.Scalars(name)}
        assert found == pytest.approx(logged(tmp_path)[name])


def test_mlflow_in_its_file_store(tmp_path, monkeypatch, with_package):
    mlflow = with_package('mlflow')
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'file://{tmp_path}/mlruns')
    assert train(tmp_path, ['mlflow'], optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.02))) == 0
    client = mlflow.MlflowClient(f'file://{tmp_path}/mlruns')
    (run,) = client.search_runs([client.get_experiment_by_name('xlearner_mm').experiment_id])
    assert (run.info.status, run.info.run_name) == ('FINISHED', 'work')
    assert run.data.params['optim_wrapper.optimizer.lr'] == '0.02'
    assert 'config.py' in {file.path for file in client.list_artifacts(run.info.run_id)}
    for name in ('loss', 'birds.loss', 'birds/score'):
        found = {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}
        assert found == pytest.approx(logged(tmp_path)[name])


def test_wandb_offline(tmp_path, monkeypatch, with_package):
    with_package('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.chdir(tmp_path)
    assert train(tmp_path, ['wandb']) == 0
    (stored,) = tmp_path.glob('work/*/vis_data/wandb/offline-run-*/run-*.wandb')
    rows = history(stored)
    for name in ('loss', 'birds.loss', 'birds/score'):
        found = {row['iter']: row[name] for row in rows if name in row}  # the axis that it is drawn over
        assert found == pytest.approx(logged(tmp_path)[name])


def history(path):
    """Return the logged rows of an offline run: records in LevelDB's log format, after a header of 7 bytes."""
    record = importlib.import_module('wandb.proto.wandb_internal_pb2').Record
    data, place, whole, rows = path.read_bytes(), 7, b'', []
    while place + 7 < len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
        length, kind = struct.unpack('<HB', data[place + 4 : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            items, whole = record.FromString(whole).history.item, b''
            rows += [{i.key or '.'.join(i.nested_key): json.loads(i.value_json) for i in items}] if items else []
    return rows


def test_all_trainings_that_a_process_starts_log_too(tmp_path):
    log_to(['tensorboard'])
    assert train(tmp_path, []) == 0
    assert list(tmp_path.glob('work/*/vis_data/events.out.tfevents*'))


def test_a_tracker_of_the_config_is_kept_as_it_is(tmp_path):
    from mmengine.config import Config

    own = dict(type='mmengine.MLflowVisBackend', exp_name='mine')
    cfg = Config(dict(visualizer=dict(type='Visualizer', vis_backends=[own]), work_dir=str(tmp_path)))
    add_loggers(cfg, ['tensorboard', 'tensorboard'])
    assert backends_of(cfg) == ['mmengine.MLflowVisBackend', 'TensorboardVisBackend']
    add_loggers(cfg, ['tensorboard'])
    assert cfg.visualizer.vis_backends[0] == own
    assert len(cfg.visualizer.vis_backends) == 2


@pytest.mark.parametrize('name', ['mlflow', 'wandb'])
def test_a_missing_package_ends_in_one_line_before_training(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loggers, 'find_spec', lambda package: None)
    assert train(tmp_path, [name]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f'error: --log {name}: ')
    assert f'pip install {name}' in errors
    assert errors.count('\n') == 1
    assert not (tmp_path / 'work').exists()


def test_an_unknown_tracker_is_named(monkeypatch):
    with pytest.raises(ConfigError, match="'visdom', choose from.*mlflow"):
        log_to(['visdom'])


@pytest.mark.parametrize('tool', ['train', 'transfer', 'transfer_set', 'run_pipeline', 'pretrain', 'study', 'demo'])
def test_every_tool_that_trains_offers_all_of_them(tool, run_tool):
    status, _, errors = run_tool(f'{tool}.py', '--log', 'visdom')
    assert status == 2
    assert all(f"'{name}'" in errors or f'{name},' in errors or f'{name})' in errors for name in LOGGERS), errors
