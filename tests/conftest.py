"""Shared settings of all tests: one thread, fixed seeds, no state left behind."""

import functools
import gc
import itertools
import logging
import os
import runpy
import sys
import time
import types
from pathlib import Path

# Two threads that wait for each other on a busy machine are many times slower than one.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest


@pytest.fixture(scope='session', autouse=True)
def without_frills():
    """Leave out what MMEngine does for readers of its logs alone, and what takes longer than most trainings here.

    yapf's layout of dumped configs, how every parameter was initialized, and a fresh look at the machine in every run.
    """
    pytest.importorskip('torch')
    import yapf.yapflib.yapf_api
    from mmengine.model import base_module, weight_init
    from mmengine.runner import runner

    yapf.yapflib.yapf_api.FormatCode = lambda code, **_: (code, False)
    base_module.update_init_info = weight_init.update_init_info = lambda *_, **__: None
    runner.collect_env = functools.cache(runner.collect_env)
    runner.time = types.SimpleNamespace(**{**vars(time), 'strftime': one_second_each})


_runs = itertools.count()


def one_second_each(form, moment):
    """Runs that start within a second would share their name, and with it MMEngine's logger and message hub."""
    return time.strftime(form, time.localtime(time.mktime(moment) + next(_runs)))


_modules = 0


@pytest.fixture(autouse=True)
def little_to_collect():
    """MMEngine's datasets collect garbage, which takes 0.4 s a time among all the objects of the libraries."""
    global _modules
    if len(sys.modules) > _modules:
        gc.collect()
        gc.freeze()
        _modules = len(sys.modules)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state, and leaves mmengine's scope as it found it."""
    torch = pytest.importorskip('torch')
    torch.manual_seed(0)
    torch.set_num_threads(1)
    from mmengine.logging import MMLogger
    from mmengine.registry import DefaultScope

    # mmengine logs every initialized parameter when no log file is open.
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    scopes = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(scopes)


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """Run a tool in this process, where all libraries are imported; returns exit status, output and errors."""

    def run(name, *arguments):
        path = str(Path(__file__).parents[1] / 'tools' / name)
        monkeypatch.setattr(sys, 'argv', [path, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(path, run_name='__main__')
        return (ended.value.code, *capsys.readouterr())

    return run
