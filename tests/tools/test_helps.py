"""Every tool's help answers at once, before anything heavy is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
# Prints the tool's help, then which of the heavy libraries it has imported for it.
PROGRAM = """
import os, runpy, sys
sys.argv = [sys.argv[1], '--help']
sys.path.insert(0, os.path.dirname(sys.argv[0]))
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
except SystemExit as stop:
    print('exit', stop.code)
print('heavy', sorted({'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'} & set(sys.modules)))
"""


@pytest.mark.parametrize('tool', sorted(TOOLS.glob('*.py')), ids=lambda path: path.name)
def test_a_help_imports_nothing_heavy(tool):
    done = subprocess.run([sys.executable, '-c', PROGRAM, str(tool)], capture_output=True, text=True)
    assert 'usage' in done.stdout, done.stderr
    assert 'exit 0\nheavy []' in done.stdout
