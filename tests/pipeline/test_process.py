"""Forks of jobs."""

import sys
from types import ModuleType

from xlearner_mm.pipeline import can_fork
from xlearner_mm.pipeline.process import tail


def test_jobs_of_a_notebook_are_no_forks(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert can_fork() == (sys.platform == 'linux')
    monkeypatch.setitem(sys.modules, 'ipykernel', ModuleType('ipykernel'))
    assert not can_fork()


def test_of_a_log_its_error_is_shown_or_else_its_last_lines(tmp_path):
    log = tmp_path / 'job.log'
    log.write_text(''.join(f'hook {number}\n\n' for number in range(20)))
    assert tail(log, 3) == ['hook 17', 'hook 18', 'hook 19']
    with log.open('a') as file:
        file.write('error: img/empty: no image\nCtrl-C\n')
    assert tail(log, 5) == ['error: img/empty: no image', 'Ctrl-C']
    assert tail(tmp_path / 'none.log') == []
