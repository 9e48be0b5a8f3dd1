"""Forks of jobs."""

import sys
from types import ModuleType

from xlearner_mm.pipeline import can_fork


def test_jobs_of_a_notebook_are_no_forks(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert can_fork() == (sys.platform == 'linux')
    monkeypatch.setitem(sys.modules, 'ipykernel', ModuleType('ipykernel'))
    assert not can_fork()
