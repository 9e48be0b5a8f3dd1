"""The doctor names each fault and its fix, and never ends in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from xlearner_mm import doctor
from xlearner_mm.doctor import CHECKS, Check, examine

ROOT = Path(__file__).resolve().parents[1]
# Ends Python as a crash in an extension does, without leaving a core file.
DIE = 'import os; os.kill(os.getpid(), 9)'


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Modules that are imported in place of the real ones."""
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))

    def write(files: dict[str, str]) -> None:
        for name, code in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(code)

    return write


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    found = [SimpleNamespace(name=name.replace('_', '-'), version=version) for name, version in versions.items()]
    monkeypatch.setattr(doctor.metadata, 'distributions', lambda: found)


class TestReport:
    @staticmethod
    def report(monkeypatch, capsys, failing: str | None) -> tuple[int, list[str]]:
        monkeypatch.setattr(doctor, 'examine', lambda check: (check is not CHECKS.get(failing), 'details'))
        return doctor.main([]), capsys.readouterr().out.splitlines()

    @pytest.mark.parametrize('name', [name for name in CHECKS if name != 'GPU'])
    def test_a_failed_check_prints_its_details_and_its_fix(self, name, monkeypatch, capsys):
        status, lines = self.report(monkeypatch, capsys, name)
        at = lines.index(f'FAILED  {name:<13} details')
        assert status == 1
        assert lines[at + 1].strip() == f'fix: {CHECKS[name].fix}'

    def test_passed_checks_are_one_line_each(self, monkeypatch, capsys):
        status, lines = self.report(monkeypatch, capsys, None)
        assert status == 0
        assert [line.split() for line in lines] == [['ok', name, 'details'] for name in CHECKS]

    def test_optional_components_are_notes(self, monkeypatch, capsys):
        status, lines = self.report(monkeypatch, capsys, 'GPU')
        assert status == 0
        assert lines[-2].startswith('note    GPU')

    def test_fixes_name_the_versions_of_requirements_txt(self):
        lines = (ROOT / 'requirements.txt').read_text().splitlines()
        pins = {line.split('#')[0].strip() for line in lines if '==' in line and not line.startswith('#')}
        named = {word.rstrip(';') for check in CHECKS.values() for word in check.fix.split() if '==' in word}
        assert len(named) > 10
        assert named <= pins


class TestChecks:
    """Each check against the installation that it is there to recognize."""

    def test_transformers_5(self):
        fake = (
            'from types import SimpleNamespace as Found\nfrom importlib import metadata\n'
            "metadata.distributions = lambda: [Found(name='transformers', version='5.1.0')]\n"
        )
        passed, details = examine(CHECKS['transformers']._replace(code=fake + CHECKS['transformers'].code))
        assert not passed
        assert 'mmpretrain.models' in details

    def test_no_transformers_is_fine(self):
        fake = 'from importlib import metadata\nmetadata.distributions = lambda: []\n'
        passed, details = examine(CHECKS['transformers']._replace(code=fake + CHECKS['transformers'].code))
        assert passed
        assert 'not installed' in details

    def test_mmcv_without_ops(self, modules):
        modules({'torch.py': '', 'mmcv/__init__.py': ''})
        passed, details = examine(CHECKS['mmcv'])
        assert not passed
        assert 'mmcv._ext' in details

    def test_a_package_too_old(self, monkeypatch):
        installed(monkeypatch, mmengine='0.7.4')
        assert examine(CHECKS['mmengine']) == (False, '0.7.4, but 0.10 or newer is needed')

    def test_original_and_continuation_installed_over_each_other(self, monkeypatch):
        installed(monkeypatch, mmcv='2.1.0', onedl_mmcv='2.3.6')
        passed, details = examine(CHECKS['mmcv'])
        assert not passed
        assert 'mmcv and onedl-mmcv' in details

    def test_torchvision_of_another_torch(self, modules):
        nms = "def nms(*_): raise RuntimeError('operator torchvision::nms does not exist')"
        modules(
            {
                'torch.py': 'def tensor(*_): pass\nones = tensor',
                'torchvision/__init__.py': 'from . import ops',
                'torchvision/ops.py': nms,
            }
        )
        assert examine(CHECKS['torchvision']) == (False, 'RuntimeError: operator torchvision::nms does not exist')

    def test_gpu_with_operators_for_the_cpu_only(self, modules):
        torch = (
            'from contextlib import nullcontext as device\nfrom types import SimpleNamespace\n'
            'def tensor(*_): pass\nones = tensor\ncuda = SimpleNamespace(is_available=lambda: True)'
        )
        nms = "def nms(*_): raise RuntimeError('implementation for device cuda:0 not found')"
        modules({'torch.py': torch, 'mmcv/__init__.py': '', 'mmcv/ops.py': nms})
        passed, details = examine(CHECKS['GPU'])
        assert not passed
        assert 'cuda:0' in details
        assert 'CPU only' in CHECKS['GPU'].fix

    @pytest.mark.parametrize('code', ['raise KeyError("x")', 'raise ImportError("a")', 'import not_there'])
    def test_any_import_error_is_one_line(self, code):
        passed, details = examine(Check(code, 'fix'))
        assert not passed
        assert 'Error' in details
        assert '\n' not in details

    def test_a_crash(self):
        passed, details = examine(Check(DIE, 'fix'))
        assert not passed
        assert 'exit status -9' in details

    def test_a_hanging_import_times_out(self):
        assert examine(Check('import time; time.sleep(600)', 'fix'), seconds=0.2) == (False, 'no answer within 0 s')


class TestCommand:
    @staticmethod
    def run(**env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, '-m', 'xlearner_mm.doctor'],
            cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True,
        )  # fmt: skip

    @pytest.mark.slow  # the last step of `make setup` does the same
    def test_a_working_installation_passes(self):
        result = self.run()
        assert result.returncode == 0, result.stdout + result.stderr
        assert [line.split()[1] for line in result.stdout.splitlines()] == list(CHECKS)

    def test_a_broken_package_fails_with_its_fix_and_without_a_traceback(self, modules, monkeypatch, capsys):
        monkeypatch.setattr(doctor, 'CHECKS', {name: CHECKS[name] for name in ('NumPy', 'OpenCV')})
        modules({'cv2.py': DIE})
        assert doctor.main([]) == 1
        numpy, opencv, fix = capsys.readouterr().out.splitlines()
        assert numpy.startswith('ok      NumPy')
        assert opencv == 'FAILED  OpenCV        the import ended Python (exit status -9)'
        assert fix.strip() == f'fix: {CHECKS["OpenCV"].fix}'
