"""The doctor says what is wrong, names the fix, and never ends in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from xlearner_mm import doctor
from xlearner_mm.doctor import BrokenError, Check, Outcome

ROOT = Path(__file__).resolve().parents[1]
# Ends Python as a crash in an extension does, without leaving a core file.
DIE = 'os.kill(os.getpid(), 9)'
CHECKS = {check.name: check for check in doctor.CHECKS}


def as_modules(monkeypatch: pytest.MonkeyPatch, **modules: object) -> None:
    """Lets imports find stand-ins; dots in names are written as two underscores."""
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name.replace('__', '.'), module)


def report(check: Check, outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> tuple[bool, str]:
    healthy = doctor.report([check], iter([outcome]))
    return healthy, capsys.readouterr().out


class TestReport:
    @pytest.mark.parametrize('check', [c for c in doctor.CHECKS if c.required], ids=lambda c: c.name)
    def test_a_failed_check_prints_its_reason_and_its_fix(self, check, capsys):
        healthy, printed = report(check, Outcome(check.name, False, 'the reason'), capsys)

        assert not healthy
        assert printed.startswith(f'FAILED  {check.name}')
        assert 'the reason' in printed
        assert f'fix: {check.fix}' in printed

    def test_a_passed_check_is_one_line_without_a_fix(self, capsys):
        healthy, printed = report(CHECKS['torch'], Outcome('torch', True, '2.11.0'), capsys)

        assert healthy
        assert printed.splitlines() == ['ok      torch         2.11.0']

    def test_what_the_package_does_not_need_is_a_note(self, capsys):
        healthy, printed = report(CHECKS['GPU'], Outcome('GPU', False, 'ops for CPU only'), capsys)

        assert healthy
        assert printed.startswith('note    GPU')

    def test_exit_status_tells_whether_all_is_well(self, monkeypatch, capsys):
        def outcomes(checks, passed):
            return (Outcome(c.name, passed or c.name != 'mmcv', 'detail') for c in checks)

        monkeypatch.setattr(doctor, 'diagnose', lambda checks: outcomes(checks, passed=True))
        assert doctor.main([]) == 0
        monkeypatch.setattr(doctor, 'diagnose', lambda checks: outcomes(checks, passed=False))
        assert doctor.main([]) == 1

    def test_fixes_name_the_versions_of_requirements_txt(self):
        pins = dict(
            line.split('#')[0].strip().split('==')
            for line in (ROOT / 'requirements.txt').read_text().splitlines()
            if '==' in line and not line.startswith('#') and ';' not in line
        )
        assert {name: pins[name] for name in doctor.PINS} == doctor.PINS


class TestProbes:
    """Each probe against the installation that it is there to recognise."""

    def test_unsupported_python(self, monkeypatch):
        monkeypatch.setattr(sys, 'version_info', (3, 9, 18))
        with pytest.raises(BrokenError, match=r'3\.10-3\.12 is needed'):
            doctor.probe_python()

    def test_transformers_5(self, monkeypatch):
        monkeypatch.setattr(doctor.metadata, 'version', lambda name: '5.1.0')
        with pytest.raises(BrokenError, match='fails beside transformers 5'):
            doctor.probe_transformers()

    def test_no_transformers_is_fine(self, monkeypatch):
        def missing(name):
            raise doctor.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(doctor.metadata, 'version', missing)
        assert doctor.probe_transformers() == 'not installed, not needed'

    def test_mmcv_without_ops(self, monkeypatch):
        as_modules(monkeypatch, mmcv=SimpleNamespace(__version__='2.3.6'), mmcv___ext=None)
        outcome = doctor.run_probe(CHECKS['mmcv'])
        assert not outcome.passed
        assert 'without its compiled ops' in outcome.detail

    def test_package_too_old(self, monkeypatch):
        as_modules(monkeypatch, mmengine=SimpleNamespace(__version__='0.7.4'))
        with pytest.raises(BrokenError, match=r'0\.7\.4, but 0\.10 or newer is needed'):
            doctor.probe_mmengine()

    def test_original_and_continuation_installed_over_each_other(self, monkeypatch):
        owners = {'mmcv': ['mmcv', 'onedl-mmcv']}
        monkeypatch.setattr(doctor.metadata, 'packages_distributions', lambda: owners)
        with pytest.raises(BrokenError, match='mmcv and onedl-mmcv'):
            doctor.probe_mmcv()

    def test_torchvision_of_another_torch(self, monkeypatch):
        def nms(*_):
            raise RuntimeError('operator torchvision::nms does not exist')

        as_modules(monkeypatch, torchvision__ops=SimpleNamespace(nms=nms))
        outcome = doctor.run_probe(CHECKS['torchvision'])
        assert outcome == Outcome('torchvision', False, 'RuntimeError: operator torchvision::nms does not exist')

    def test_gpu_with_operators_for_the_cpu_only(self, monkeypatch):
        def nms(*_):
            raise RuntimeError('nms_impl: implementation for device cuda:0 not found.')

        tensor = SimpleNamespace(cuda=lambda: None)
        cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda index: 'A GPU')
        torch = SimpleNamespace(cuda=cuda, rand=lambda *_: tensor, ones=lambda *_: tensor)
        monkeypatch.setattr(doctor.importlib.util, 'find_spec', lambda name: name)
        as_modules(monkeypatch, torch=torch, mmcv__ops=SimpleNamespace(nms=nms))
        with pytest.raises(BrokenError, match="A GPU, but mmcv's ops"):
            doctor.probe_gpu()

    def test_missing_module_is_named(self, monkeypatch):
        as_modules(monkeypatch, mmdet=None)
        outcome = doctor.run_probe(CHECKS['mmdet'])
        assert not outcome.passed
        assert 'mmdet' in outcome.detail

    @pytest.mark.parametrize('raised', [SystemExit(3), KeyError('x'), ImportError('a\nb')])
    def test_whatever_an_import_raises_is_one_line(self, raised):
        def probe():
            raise raised

        outcome = doctor.run_probe(Check('x', probe, 'fix'))
        assert not outcome.passed
        assert outcome.detail.startswith(type(raised).__name__)
        assert '\n' not in outcome.detail


class TestProcesses:
    """A stand-in for the other process: Python code that prints, dies or hangs."""

    @staticmethod
    def outcomes(code: str, names: list[str], seconds: float = 20) -> list[Outcome]:
        return list(doctor.read_outcomes([sys.executable, '-c', code], names, seconds))

    def test_reads_an_outcome_per_line_among_what_packages_print(self):
        code = 'print("hello"); print(3); print(\'["a", true, "1.0"]\'); print(\'["b", true, "2"]\')'
        expected = [Outcome('a', True, '1.0'), Outcome('b', True, '2')]
        assert self.outcomes(code, ['a', 'b']) == expected

    def test_a_crash_is_the_failure_of_the_check_that_ran(self):
        code = f'import os; print(\'["a", true, "1"]\', flush=True); {DIE}'
        passed, crashed = self.outcomes(code, ['a', 'b', 'c'])
        assert passed.passed
        assert (crashed.name, crashed.passed) == ('b', False)
        assert 'ended Python' in crashed.detail

    def test_an_import_that_hangs_is_given_up(self):
        (hanging,) = self.outcomes('import time; time.sleep(60)', ['a', 'b'], seconds=0.2)
        assert hanging == Outcome('a', False, 'no answer within 0 s')

    def test_checks_after_a_failed_one_run_in_a_new_process(self, monkeypatch):
        started = []

        def read_outcomes(command, names, seconds):
            started.append(command[command.index('--probe') + 1 :])
            for name in list(names):
                yield Outcome(name, name != 'b', '')
                if name == 'b':
                    return

        monkeypatch.setattr(doctor, 'read_outcomes', read_outcomes)
        checks = [Check(name, lambda: '', '') for name in 'abc']
        outcomes = list(doctor.diagnose(checks))
        assert [(o.name, o.passed) for o in outcomes] == [('a', True), ('b', False), ('c', True)]
        assert started == [['a', 'b', 'c'], ['c']]


class TestCommand:
    @staticmethod
    def run(**env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, '-m', 'xlearner_mm.doctor'],
            cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def test_a_working_installation_passes(self):
        result = self.run()
        assert result.returncode == 0, result.stdout + result.stderr
        assert [line.split()[1] for line in result.stdout.splitlines()] == list(CHECKS)

    def test_a_broken_package_fails_with_its_fix_and_without_a_traceback(self, tmp_path):
        # Crashes Python when it is imported, as an extension of another torch can.
        (tmp_path / 'cv2.py').write_text(f'import os; {DIE}')
        result = self.run(PYTHONPATH=str(tmp_path))

        assert result.returncode == 1
        assert 'FAILED  OpenCV        the import ended Python' in result.stdout
        assert f'fix: {CHECKS["OpenCV"].fix}' in result.stdout
        assert 'ok      torch ' in result.stdout
        assert 'Traceback' not in result.stdout + result.stderr
