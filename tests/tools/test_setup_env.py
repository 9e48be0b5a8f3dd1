"""`make setup`: one clear line for what is missing, no step twice, safe to interrupt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import namedtuple
from itertools import islice
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

import setup_env  # noqa: E402
from setup_env import Python, SetupError, Step  # noqa: E402

from tests.processes import is_alive  # noqa: E402

PYTHON = Python(sys.executable, '{}.{}'.format(*sys.version_info), True, True)
MMCV = Step('mmcv', '', [], gigabytes=1.5)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose `.venv` has a Python that runs, and nothing else."""
    for name in ('requirements.txt', 'setup.py', 'xlearner_mm/version.py'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    binaries = tmp_path / '.venv' / 'bin'
    binaries.mkdir(parents=True)
    (binaries / 'python').symlink_to(sys.executable)
    monkeypatch.setattr(setup_env, 'ROOT', tmp_path)
    monkeypatch.setattr(setup_env.signal, 'signal', lambda *_: None)
    return tmp_path


def fake_python(folder: Path, name: str, version: str) -> str:
    """An executable that answers the probe as a Python of that version would."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho \'["{path}", "{version}", true, true]\'\n')
    path.chmod(0o755)
    return str(path)


def recording_step(clone: Path, name: str, inputs: str = '', then: str = '') -> Step:
    """A step that appends its name to a file, and may then do something else."""
    code = f'open({str(clone / "ran")!r}, "a").write({name!r} + " "); {then}'
    return Step(name, '', [sys.executable, '-c', code], inputs)


def set_up(clone: Path, steps: list[Step], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the set-up with these steps and return the names of those that ran."""
    monkeypatch.setattr(setup_env, 'plan_steps', lambda root, python: steps)
    (clone / 'ran').write_text('')
    setup_env.set_up(clone, None)
    return (clone / 'ran').read_text().split()


class TestChoosingPython:
    def test_a_requested_python_that_is_too_old_is_refused(self, tmp_path):
        python = fake_python(tmp_path, 'python3.9', '3.9')
        with pytest.raises(SetupError, match=r'3\.10-3\.12.*is Python 3\.9') as e:
            setup_env.choose_python(python, tmp_path / '.venv')
        assert 'make setup PYTHON=python3.11' in e.value.args[1]

    def test_a_requested_python_that_does_not_run_is_refused(self, tmp_path):
        with pytest.raises(SetupError, match=r'python3\.77 does not run'):
            setup_env.choose_python('python3.77', tmp_path / '.venv')

    def test_the_first_that_runs_and_is_supported_is_taken(self, tmp_path, monkeypatch):
        monkeypatch.setenv('PATH', str(tmp_path))
        # A version manager's shim for a version that is not installed.
        (tmp_path / 'python3.11').write_text('#!/bin/sh\nexit 127\n')
        (tmp_path / 'python3.11').chmod(0o755)
        fake_python(tmp_path, 'python3', '3.13')
        expected = fake_python(tmp_path, 'python3.12', '3.12')
        assert setup_env.choose_python(None, tmp_path / '.venv').executable == expected

    def test_without_a_supported_python_the_found_ones_are_named(self, tmp_path, monkeypatch):
        monkeypatch.setenv('PATH', str(tmp_path))
        fake_python(tmp_path, 'python3', '3.13')
        with pytest.raises(SetupError, match=r'3\.10-3\.12; found: python3 is Python 3\.13'):
            setup_env.choose_python(None, tmp_path / '.venv')

    def test_the_python_of_an_existing_environment_is_kept(self, clone):
        assert setup_env.choose_python(None, clone / '.venv').version == PYTHON.version


class TestConditions:
    def test_an_incomplete_clone(self, tmp_path):
        with pytest.raises(SetupError, match=r'requirements\.txt is missing'):
            setup_env.set_up(tmp_path, None)

    def test_no_compiler(self, tmp_path, monkeypatch):
        monkeypatch.setenv('PATH', str(tmp_path))
        monkeypatch.delenv('CXX', raising=False)
        with pytest.raises(SetupError, match=r'C\+\+ compiler') as e:
            setup_env.check_conditions(tmp_path, PYTHON, [MMCV])
        assert 'apt install g++' in e.value.args[1]

    @pytest.mark.parametrize(
        ('missing', 'step', 'package'), [('has_headers', 'mmcv', '-dev'), ('has_venv', 'environment', '-venv')]
    )
    def test_separately_packaged_parts_of_python(self, tmp_path, missing, step, package):
        python = PYTHON._replace(**{missing: False})
        with pytest.raises(SetupError) as e:
            setup_env.check_conditions(tmp_path, python, [MMCV._replace(name=step)])
        assert f'sudo apt install python{PYTHON.version}{package}' in e.value.args[1]

    def test_too_little_disk(self, tmp_path, monkeypatch):
        usage = namedtuple('usage', 'free')
        monkeypatch.setattr(setup_env.shutil, 'disk_usage', lambda path: usage(1.2e9))
        with pytest.raises(SetupError, match=r'needs 1\.5 GB .* has 1\.2 GB free'):
            setup_env.check_conditions(tmp_path, PYTHON, [MMCV])

    def test_an_installation_without_mmcv_to_compile_needs_no_compiler(self, tmp_path, monkeypatch):
        monkeypatch.setenv('PATH', str(tmp_path))
        python = PYTHON._replace(has_headers=False, has_venv=False)
        setup_env.check_conditions(tmp_path, python, [MMCV._replace(name='rest')])

    def test_an_error_is_one_line_with_its_fix_and_exit_status_1(self, clone, capsys):
        assert setup_env.main(['--python', 'python3.77']) == 1
        error, fix = capsys.readouterr().err.splitlines()
        assert error.startswith('error: ')
        assert 'python3.77' in error
        assert fix.startswith('  fix: ')


class TestSteps:
    def test_requirements_are_installed_in_the_order_that_builds_mmcv(self, clone):
        steps = setup_env.plan_steps(clone, PYTHON)
        assert [step.name for step in steps] == [
            'environment', 'build', 'torch', 'mmcv', 'rest', 'project', 'doctor',
        ]  # fmt: skip
        assert '--no-build-isolation' in steps[3].command[-1]

    def test_every_requirement_is_pinned_and_in_a_group(self):
        text = (ROOT / 'requirements.txt').read_text()
        groups = setup_env.read_groups(text)
        requirements = [line.split('#')[0].strip() for line in text.splitlines() if line and not line.startswith('#')]
        assert list(groups) == ['build', 'torch', 'mmcv', 'rest']
        assert [requirement for group in groups.values() for requirement in group] == requirements
        assert all('==' in requirement for requirement in requirements)

    def test_mmcv_of_the_cache_that_does_not_import_is_built_again(self, clone):
        calls = clone / 'calls'
        python = clone / '.venv/bin/python'
        python.unlink()
        # Imports fail until pip was told to leave out its cache.
        python.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n[ "$1" = -m ] || grep -q no-cache-dir {calls}\n')
        python.chmod(0o755)
        step = setup_env.plan_steps(clone, PYTHON)[3]
        calls.write_text('')
        assert subprocess.run(step.command, check=False).returncode == 0
        first, check, again, last = calls.read_text().splitlines()
        assert 'no-cache-dir' not in first
        assert '--no-cache-dir --force-reinstall' in again
        assert check == last == '-c import torch, mmcv._ext'

    def test_a_finished_installation_runs_nothing(self, clone, monkeypatch):
        steps = [recording_step(clone, 'a'), recording_step(clone, 'b')]
        assert set_up(clone, steps, monkeypatch) == ['a', 'b']
        assert set_up(clone, steps, monkeypatch) == []

    def test_a_changed_step_and_later_ones_run_again(self, clone, monkeypatch):
        steps = [recording_step(clone, name, inputs='torch==1') for name in 'abc']
        set_up(clone, steps, monkeypatch)
        steps[1] = recording_step(clone, 'b', inputs='torch==2')
        assert set_up(clone, steps, monkeypatch) == ['b', 'c']
        assert set_up(clone, steps, monkeypatch) == []

    def test_only_a_failed_step_runs_again(self, clone, monkeypatch):
        steps = [recording_step(clone, 'a'), recording_step(clone, 'b', then='raise SystemExit(1)')]
        with pytest.raises(SetupError, match='b failed') as e:
            set_up(clone, steps, monkeypatch)
        assert 'continues with this step' in e.value.args[1]
        steps[1] = recording_step(clone, 'b')
        assert set_up(clone, steps, monkeypatch) == ['b']

    def test_an_environment_without_its_python_is_rebuilt(self, clone, monkeypatch):
        steps = [recording_step(clone, 'environment'), recording_step(clone, 'b')]
        set_up(clone, steps, monkeypatch)
        (clone / '.venv' / 'bin' / 'python').unlink()
        assert set_up(clone, steps, monkeypatch) == ['environment', 'b']

    def test_an_unfinished_environment_of_the_same_python_is_completed_and_any_other_replaced(self, clone):
        def command(python):
            return setup_env.plan_steps(clone, python)[0].command

        assert '--clear' not in command(PYTHON)
        assert '--clear' in command(PYTHON._replace(version='3.99'))
        (clone / '.venv' / 'setup-done').write_text('of another clone')
        assert '--clear' in command(PYTHON)

    def test_partly_installed_packages_are_removed(self, clone):
        site_packages = clone / '.venv/lib/python3.11/site-packages'
        for name, files in {'whole': ('INSTALLER', 'RECORD'), 'half': ('METADATA', 'RECORD')}.items():
            info = site_packages / f'{name}-1.0.dist-info'
            info.mkdir(parents=True)
            for file in files:
                (info / file).touch()
        (site_packages / '~umpy').mkdir()
        setup_env.remove_half_installed(clone / '.venv')
        assert [path.name for path in site_packages.iterdir()] == ['whole-1.0.dist-info']


class TestInterruption:
    SCRIPT = """
import sys
sys.path.insert(0, {tools!r})
import setup_env

class Popen(setup_env.subprocess.Popen):
    # Says when a step is waited for: before, a signal may come while it is being started.
    def wait(self, timeout=None):
        if timeout is None and self.stdout is None:
            print('waits', flush=True)
        return super().wait(timeout)

setup_env.subprocess.Popen = Popen
clone = setup_env.Path({clone!r})
slow = [sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(600)']
steps = [setup_env.Step('a', '', [sys.executable, '-c', '']), setup_env.Step('b', '', slow)]
setup_env.plan_steps = lambda root, python: steps
setup_env.ROOT = clone
sys.exit(setup_env.main([]))
"""

    @pytest.fixture
    def running(self, clone):
        """A set-up within its second step, and that step's process."""
        script = self.SCRIPT.format(tools=str(ROOT / 'tools'), clone=str(clone))
        with subprocess.Popen(
            [sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as setup:
            told = (line.strip() for line in setup.stdout if line.strip() == 'waits' or line.strip().isdecimal())
            # Of the first step that it is waited for, of the second that and its process.
            step = int(next(filter(str.isdecimal, list(islice(told, 3)))))
            yield setup, step
            for pid in (setup.pid, step):
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)

    @pytest.mark.parametrize('sign', [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupted_set_up_continues_with_its_step(self, clone, running, monkeypatch, sign):
        setup, step = running
        setup.send_signal(sign)
        _, printed = setup.communicate()

        assert setup.returncode == 130
        assert 'make setup continues' in printed
        assert not is_alive(step)
        steps = [recording_step(clone, 'a'), recording_step(clone, 'b')]
        assert set_up(clone, steps, monkeypatch) == ['b']

    def test_a_killed_set_up_holds_the_lock_until_its_step_ends(self, clone, running, monkeypatch):
        setup, step = running
        setup.kill()
        setup.wait()
        assert is_alive(step)
        assert lock_is_taken(clone)

        os.kill(step, signal.SIGKILL)
        steps = [recording_step(clone, 'a'), recording_step(clone, 'b')]
        assert set_up(clone, steps, monkeypatch) == ['b']


def lock_is_taken(clone: Path) -> bool:
    import fcntl

    with open(clone / '.setup' / 'lock') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
