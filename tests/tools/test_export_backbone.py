"""The command line of the export."""

import runpy
from functools import partial
from pathlib import Path

import pytest

from tests.export.conftest import trained  # noqa: F401
from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.export import FORMATS
from xlearner_mm.testing import tiny_expanded

TOOL = Path(__file__).parents[2] / 'tools' / 'export_backbone.py'


@pytest.fixture
def run(run_tool):
    return partial(run_tool, TOOL.name)


def test_a_branch_and_the_whole(trained, tmp_path, run):  # noqa: F811
    _, checkpoint = trained(tiny_expanded('cls', 'det'))
    status, output, _ = run(checkpoint, '--out', tmp_path / 'det.safetensors', '--branch', 'det')
    assert (status, output) == (
        0,
        f'{tmp_path}/det.safetensors (safetensors): XLearnerResNet with channels [4, 8, 16, 32] from the expansion '
        'stage on birds, boxes\n',
    )
    assert run(checkpoint, '--out', tmp_path / 'all.pth', '--expanded', '--no-ema')[0] == 0
    assert read_checkpoint(str(tmp_path / 'all.pth'))['meta']['channels'] == [8, 16, 32, 64]


def test_errors_are_one_line(trained, tmp_path, run):  # noqa: F811
    _, checkpoint = trained(tiny_expanded('cls', 'det'))
    status, output, errors = run(checkpoint, '--out', tmp_path / 'b.pth', '--format', 'timm')
    assert (status, output) == (1, '')
    assert errors.startswith('error: checkpoint ')
    assert "with branches ['cls', 'det']: name the one to export" in errors
    assert errors.count('\n') == 1
    assert run(checkpoint, '--out', 'b.pth', '--branch', 'det', '--expanded')[0] == 2


def test_the_help_lists_all_formats():
    assert runpy.run_path(str(TOOL))['FORMATS'] == tuple(FORMATS)


def test_a_folder_with_a_card(trained, tmp_path, run):  # noqa: F811
    _, checkpoint = trained(tiny_expanded('cls', 'det'))
    status, output, _ = run(checkpoint, '--out', tmp_path / 'det', '--branch', 'det', '--card', '--license', 'mit')
    assert (status, output.split(':')[0]) == (0, f'{tmp_path}/det (safetensors)')
    assert 'license: mit' in (tmp_path / 'det/README.md').read_text()
    assert run(checkpoint, '--out', tmp_path / 'b.pth', '--license', 'mit')[0] == 2
    assert run(checkpoint, '--out', tmp_path / 'b', '--card', '--format', 'timm')[0] == 2
