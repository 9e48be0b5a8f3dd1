"""`make setup` stops with one clear line, does only what is missing, and survives interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

import setup_env  # noqa: E402
from bootstrap import conditions, plan, progress, pythons, running  # noqa: E402
from bootstrap.errors import SetupError  # noqa: E402
from bootstrap.plan import Step  # noqa: E402
from bootstrap.pythons import Python  # noqa: E402

PYTHON = Python(sys.executable, [3, 11, 7], '/usr/include/python3.11', True, True)
MMCV = Step('mmcv', 'mmcv', [], '', seconds=1, gigabytes=1.5)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose `.venv` has a Python that runs, and nothing else."""
    for name in ('requirements.txt', 'setup.py', 'xlearner_mm/version.py'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    binaries = tmp_path / '.venv' / 'bin'
    binaries.mkdir(parents=True)
    (binaries / 'python').symlink_to(sys.executable)
    (tmp_path / '.setup').mkdir()
    return tmp_path


def fake_python(folder: Path, name: str, version: str) -> str:
    """An executable that answers the probe as a Python of that version would."""
    path = folder / name
    facts = (
        f'{{"executable": "{path}", "version": [{version.replace(".", ", ")}], '
        '"include": "/include", "has_headers": true, "has_venv": true}'
    )
    path.write_text(f"#!/bin/sh\necho '{facts}'\n")
    path.chmod(0o755)
    return str(path)


def recording_step(clone: Path, name: str, inputs: str = '', then: str = '') -> Step:
    """A step that appends its name to a file, and may then do something else."""
    code = f'open({str(clone / "ran")!r}, "a").write({name!r} + " "); {then}'
    return Step(name, name, [sys.executable, '-c', code], inputs, seconds=1)


def set_up(clone: Path, steps: list[Step], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs the set-up with these steps and returns the names of those that ran."""
    monkeypatch.setattr(setup_env, 'plan_steps', lambda root, python, jobs: steps)
    (clone / 'ran').write_text('')
    lock = setup_env.take_lock(clone / '.setup')
    try:
        setup_env.run_pending(clone, PYTHON, lock)
    finally:
        os.close(lock)
    return (clone / 'ran').read_text().split()


class TestChoosingPython:
    def test_a_requested_python_that_is_too_old_is_refused(self, tmp_path):
        python = fake_python(tmp_path, 'python3.9', '3.9.18')
        with pytest.raises(SetupError, match=r'is Python 3\.9, and the project needs 3\.10-3\.12') as e:
            pythons.choose_python(python, tmp_path / '.venv')
        assert 'make setup PYTHON=python3.11' in e.value.fix

    def test_a_requested_python_that_does_not_run_is_refused(self, tmp_path):
        with pytest.raises(SetupError, match=r'python3\.77 does not run'):
            pythons.choose_python('python3.77', tmp_path / '.venv')

    def test_the_first_that_runs_and_is_supported_is_taken(self, tmp_path, monkeypatch):
        monkeypatch.setenv('PATH', str(tmp_path))
        # A version manager's shim for a version that is not installed.
        (tmp_path / 'python3.11').write_text('#!/bin/sh\nexit 127\n')
        (tmp_path / 'python3.11').chmod(0o755)
        fake_python(tmp_path, 'python3', '3.13.0')
        expected = fake_python(tmp_path, 'python3.12', '3.12.1')
        assert pythons.choose_python(None, tmp_path / '.venv').executable == expected

    def test_without_a_supported_one_it_says_what_it_found(self, tmp_path, monkeypatch):
        monkeypatch.setenv('PATH', str(tmp_path))
        fake_python(tmp_path, 'python3', '3.13.0')
        with pytest.raises(SetupError, match=r'needs Python 3\.10-3\.12; found: 3\.13'):
            pythons.choose_python(None, tmp_path / '.venv')

    def test_the_python_of_an_existing_environment_is_kept(self, clone):
        expected = f'{sys.version_info[0]}.{sys.version_info[1]}'
        assert pythons.choose_python(None, clone / '.venv').minor == expected


class TestConditions:
    def test_an_incomplete_clone(self, tmp_path):
        with pytest.raises(SetupError, match=r'requirements\.txt is missing'):
            conditions.check_clone(tmp_path)

    def test_no_compiler(self, tmp_path, monkeypatch):
        monkeypatch.setenv('PATH', str(tmp_path))
        monkeypatch.delenv('CXX', raising=False)
        with pytest.raises(SetupError, match=r'needs a C\+\+ compiler') as e:
            conditions.check_conditions(tmp_path, PYTHON, [MMCV])
        assert 'apt install g++' in e.value.fix

    def test_no_python_headers(self, tmp_path):
        python = PYTHON._replace(has_headers=False)
        with pytest.raises(SetupError, match=r'needs Python\.h') as e:
            conditions.check_conditions(tmp_path, python, [MMCV])
        assert 'apt install python3.11-dev' in e.value.fix

    def test_no_venv_module(self, tmp_path):
        python = PYTHON._replace(has_venv=False)
        with pytest.raises(SetupError, match='no venv module') as e:
            conditions.check_conditions(tmp_path, python, [MMCV._replace(name='venv')])
        assert e.value.fix == 'sudo apt install python3.11-venv'

    def test_too_little_disk(self, tmp_path, monkeypatch):
        usage = namedtuple('usage', 'free')
        monkeypatch.setattr(conditions.shutil, 'disk_usage', lambda path: usage(1.2e9))
        with pytest.raises(SetupError, match=r'needs 1\.5 GB .* has 1\.2 GB free'):
            conditions.check_disk(tmp_path, [MMCV])

    def test_an_installation_without_mmcv_to_compile_needs_no_compiler(self, tmp_path, monkeypatch):
        monkeypatch.setenv('PATH', str(tmp_path))
        python = PYTHON._replace(has_headers=False, has_venv=False)
        conditions.check_conditions(tmp_path, python, [MMCV._replace(name='rest')])

    def test_an_error_is_one_line_with_its_fix_and_exit_status_1(self, clone, monkeypatch, capsys):
        monkeypatch.setattr(setup_env, 'ROOT', clone)
        monkeypatch.setattr(setup_env.signal, 'signal', lambda *_: None)
        assert setup_env.main(['--python', 'python3.77']) == 1
        printed = capsys.readouterr().err
        assert printed.splitlines() == ['error: python3.77 does not run', f'  fix: {pythons.FIX}']


class TestSteps:
    def test_requirements_are_installed_in_the_order_that_builds_mmcv(self, clone):
        steps = plan.plan_steps(clone, PYTHON, jobs=3)
        assert [step.name for step in steps] == [
            'venv', 'build', 'torch', 'mmcv', 'rest', 'project', 'doctor',
        ]  # fmt: skip
        mmcv = steps[3]
        assert '--no-build-isolation' in mmcv.command
        assert mmcv.env == {'CFLAGS': '-g0', 'MAX_JOBS': '3'}

    def test_every_requirement_is_pinned_and_in_a_group(self):
        text = (ROOT / 'requirements.txt').read_text()
        groups = plan.read_groups(text)
        requirements = [line for line in text.splitlines() if line and not line.startswith('#')]
        grouped = [requirement for group in groups.values() for requirement in group]
        assert list(groups) == ['build', 'torch', 'mmcv', 'rest']
        assert len(grouped) == len(requirements)
        assert all('==' in requirement for requirement in grouped)

    def test_a_finished_installation_runs_nothing(self, clone, monkeypatch):
        steps = [recording_step(clone, 'a'), recording_step(clone, 'b')]
        assert set_up(clone, steps, monkeypatch) == ['a', 'b']
        assert set_up(clone, steps, monkeypatch) == []

    def test_a_changed_step_runs_again_with_those_after_it(self, clone, monkeypatch):
        steps = [recording_step(clone, name, inputs='torch==1') for name in 'abc']
        set_up(clone, steps, monkeypatch)
        steps[1] = recording_step(clone, 'b', inputs='torch==2')
        assert set_up(clone, steps, monkeypatch) == ['b', 'c']

    def test_a_failed_step_runs_again_and_those_before_it_do_not(self, clone, monkeypatch):
        steps = [recording_step(clone, 'a'), recording_step(clone, 'b', then='raise SystemExit(1)')]
        with pytest.raises(SetupError, match='b failed'):
            set_up(clone, steps, monkeypatch)
        steps[1] = recording_step(clone, 'b')
        assert set_up(clone, steps, monkeypatch) == ['b']

    def test_a_failure_shows_the_end_of_its_log_and_a_hint(self, clone, monkeypatch):
        raising = 'raise OSError("[Errno 28] No space left on device")'
        with pytest.raises(SetupError, match='No space left on device') as e:
            set_up(clone, [recording_step(clone, 'a', then=raising)], monkeypatch)
        assert str(clone / '.setup' / 'a.log') in str(e.value)
        assert 'free some disk space' in e.value.fix
        assert 'continues with this step' in e.value.fix

    def test_without_its_python_the_environment_is_made_anew(self, clone, monkeypatch):
        steps = [recording_step(clone, 'venv'), recording_step(clone, 'b')]
        set_up(clone, steps, monkeypatch)
        (clone / '.venv' / 'bin' / 'python').unlink()
        assert set_up(clone, steps, monkeypatch) == ['venv', 'b']

    def test_an_environment_of_another_python_is_replaced(self, clone):
        other = PYTHON._replace(version=[3, sys.version_info[1] + 1, 0])
        same = PYTHON._replace(version=list(sys.version_info[:3]))
        assert '--clear' in plan.venv_command(clone / '.venv', other)
        assert '--clear' not in plan.venv_command(clone / '.venv', same)

    def test_what_was_installed_without_working_is_built_once_more(self, clone, monkeypatch):
        marker = clone / 'built'
        step = recording_step(clone, 'mmcv')._replace(
            check=[sys.executable, '-c', f'open({str(marker)!r})'],
            repair=[sys.executable, '-c', f'open({str(marker)!r}, "w")'],
        )
        set_up(clone, [step], monkeypatch)
        assert marker.exists()

    def test_packages_cut_off_while_installing_are_forgotten(self, clone):
        site_packages = clone / '.venv/lib/python3.11/site-packages'
        for name, files in {'whole': ('INSTALLER', 'RECORD'), 'half': ('METADATA', 'RECORD')}.items():
            info = site_packages / f'{name}-1.0.dist-info'
            info.mkdir(parents=True)
            for file in files:
                (info / file).touch()
        (site_packages / '~umpy').mkdir()
        running.remove_half_installed(clone / '.venv')
        assert [path.name for path in site_packages.iterdir()] == ['whole-1.0.dist-info']


class TestInterruption:
    SCRIPT = """
import sys
sys.path.insert(0, {tools!r})
import setup_env
from bootstrap.plan import Step
clone = setup_env.Path({clone!r})
slow = [sys.executable, '-c', 'import os, time; open("pid", "w").write(str(os.getpid())); time.sleep(60)']
steps = [Step('a', 'a', [sys.executable, '-c', ''], '', 1), Step('b', 'b', slow, '', 1)]
setup_env.plan_steps = lambda root, python, jobs: steps
setup_env.ROOT = clone
sys.exit(setup_env.main([]))
"""

    def start(self, clone: Path) -> tuple[subprocess.Popen[str], int]:
        """Starts a set-up, and returns it and the process of its second step."""
        script = self.SCRIPT.format(tools=str(ROOT / 'tools'), clone=str(clone))
        command = [sys.executable, '-c', script]
        setup = subprocess.Popen(command, cwd=clone, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        pid = clone / 'pid'
        deadline = time.monotonic() + 30
        while not (pid.exists() and pid.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return setup, int(pid.read_text())

    @pytest.mark.parametrize('sign', [signal.SIGINT, signal.SIGTERM])
    def test_a_stopped_set_up_stops_its_step_and_continues_with_it(self, clone, monkeypatch, sign):
        setup, step = self.start(clone)
        setup.send_signal(sign)
        _, printed = setup.communicate(timeout=20)

        assert setup.returncode == 130
        assert 'make setup continues' in printed
        assert not is_alive(step)
        steps = [recording_step(clone, 'a'), recording_step(clone, 'b')]
        assert set_up(clone, steps, monkeypatch) == ['b']

    def test_a_killed_set_up_keeps_others_out_until_its_step_has_ended(self, clone, monkeypatch):
        setup, step = self.start(clone)
        setup.kill()
        setup.communicate()
        assert is_alive(step)
        assert lock_is_taken(clone)

        os.kill(step, signal.SIGKILL)
        steps = [recording_step(clone, 'a'), recording_step(clone, 'b')]
        assert set_up(clone, steps, monkeypatch) == ['b']


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def lock_is_taken(clone: Path) -> bool:
    import fcntl

    with open(clone / '.setup' / 'lock') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


class TestProgress:
    def test_a_compilation_is_shown_as_files_done(self, tmp_path):
        log = tmp_path / 'log'
        log.write_text('  [3/78] c++ -c a.cpp\n  a warning\n  [4/78] c++ -c b.cpp\n  another\n')
        assert progress.activity(log) == '4 of 78 files compiled'

    @pytest.mark.parametrize(('seconds', 'text'), [(4.4, '4 s'), (61, '1 min 01 s')])
    def test_durations(self, seconds, text):
        assert progress.duration(seconds) == text
