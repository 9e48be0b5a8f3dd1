"""Training and testing through the launch scripts with two processes, for real, on a CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xlearner_mm.mini import make_mini

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/mini/xlearner_seg_r18_expansion.py'
SHORT = [
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
]


@pytest.fixture
def run(tmp_path):
    make_mini(tmp_path / 'data/xl_mini', scale=0.02, report=lambda line: None)

    def run(script, *arguments):
        command = ['bash', str(ROOT / 'tools' / script), str(CONFIG), *map(str, arguments)]
        env = {**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_two_processes_train_validate_and_test(run, tmp_path):
    trained = run('dist_train.sh', 2, '--work-dir', 'work', '--cfg-options', *SHORT)
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert (tmp_path / 'work/iter_2.pth').is_file()
    tested = run('dist_test.sh', 'work', 2, '--work-dir', 'test')
    assert tested.returncode == 0, tested.stderr[-2000:]
    assert 'sources/mean' in tested.stdout + tested.stderr
