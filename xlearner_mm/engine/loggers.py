"""Experiment trackers that a training logs to, beside the files in its work directory: MMEngine's own backends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import bare_name

LOGGERS = {'tensorboard': 'TensorboardVisBackend', 'mlflow': 'MLflowVisBackend', 'wandb': 'WandbVisBackend'}
"""Trackers by the name of their package, and the backend of each."""
VARIABLE = 'XLEARNER_LOG'
"""Environment variable with the trackers of all trainings that a process starts, separated by commas."""
PROJECT = 'xlearner_mm'
_TRACKED = ('optim_wrapper', 'param_scheduler', 'train_cfg', 'randomness')


def check_loggers(names: Sequence[str]) -> None:
    """Check the names of trackers.

    Raises:
        ConfigError: an unknown tracker, or one whose package is not installed.
    """
    for name in names:
        _check(name)


def log_to(names: Sequence[str]) -> None:
    """Let all trainings that this process starts log to trackers too.

    They learn it from the environment, so that a finished job is not repeated for another tracker.

    Args:
        names: of :data:`LOGGERS`.

    Raises:
        ConfigError: an unknown tracker, or one whose package is not installed.
    """
    check_loggers(names)
    if 'mlflow' in names:
        import mlflow

        mlflow.set_experiment(PROJECT)  # which several processes must not create at the same time
    if names:
        os.environ[VARIABLE] = ','.join(names)


@contextmanager
def logging_to(names: Sequence[str]) -> Iterator[None]:
    """Let all trainings that start in the block log to trackers too; see :func:`log_to`."""
    before = os.environ.get(VARIABLE)
    log_to(names)
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


def add_loggers(cfg: Config, names: Sequence[str] = ()) -> None:
    """Add trackers, and those that :func:`log_to` has named, to a config with its work directory, in place.

    MLflow stores where ``MLFLOW_TRACKING_URI`` says, or else where MLflow does by default.

    Args:
        cfg: of a training.
        names: of :data:`LOGGERS`. Defaults to none.

    Raises:
        ConfigError: an unknown tracker, or one whose package is not installed.
    """
    for name in dict.fromkeys([*names, *filter(None, os.environ.get(VARIABLE, '').split(','))]):
        _check(name)
        visualizer = cfg.get('visualizer') or {'type': 'Visualizer', 'vis_backends': [{'type': 'LocalVisBackend'}]}
        backends = list(visualizer.get('vis_backends') or [])
        if not any(bare_name(backend['type']) == LOGGERS[name] for backend in backends):
            cfg.visualizer = {
                **visualizer,
                'vis_backends': [*backends, {'type': LOGGERS[name], **_settings(name, cfg)}],
            }


def _check(name: str) -> None:
    if name not in LOGGERS:
        raise ConfigError(f"--log: unknown tracker '{name}', choose from {list(LOGGERS)}")
    if find_spec(name) is None:
        raise ConfigError(f'--log {name}: {name} is not installed: pip install {name}, or leave --log {name} out')


def _settings(name: str, cfg: Config) -> dict[str, Any]:
    run = Path(cfg.work_dir).name
    if name == 'mlflow':
        import mlflow

        tracked = [key for key in _TRACKED if key in cfg]
        store = {'tracking_uri': mlflow.get_tracking_uri(), 'exp_name': PROJECT}
        return {**store, 'run_name': run, 'tracked_config_keys': tracked}
    if name == 'wandb':
        # Its own steps count calls: validations would be drawn beside other iterations than their own.
        axis = [{'name': 'iter'}, {'name': '*', 'step_metric': 'iter'}]
        return {'init_kwargs': {'project': PROJECT, 'name': run}, 'define_metric_cfg': axis}
    return {}
