"""The launch scripts start every process with the arguments they were given."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
# Stands in for tools/train.py and tools/test.py.
STAND_IN = """
import json, os, sys
import torch.distributed as dist
dist.init_process_group('gloo')
report = dict(arguments=sys.argv[1:], world=dist.get_world_size())
with open(os.path.join(os.path.dirname(__file__), 'rank%d.json' % dist.get_rank()), 'w') as stream:
    json.dump(report, stream)
dist.barrier()  # who leaves first would break the connections that the other still makes
dist.destroy_process_group()
"""
# Prints its arguments.
SRUN = '#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n'


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A copy of the scripts beside stand-ins for what they start."""
    for script in TOOLS.glob('*.sh'):
        shutil.copy(script, tmp_path)
    for name in ('train.py', 'test.py'):
        (tmp_path / name).write_text(STAND_IN)
    (tmp_path / 'srun').write_text(SRUN)
    (tmp_path / 'srun').chmod(0o755)
    return tmp_path


def launch(tools: Path, script: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    path = f'{tools}:{os.environ["PATH"]}'
    return subprocess.run(
        [str(tools / script), *arguments],
        env={**os.environ, 'PYTHON': sys.executable, 'PORT': port, 'PATH': path, **env},
        capture_output=True,
        text=True,
    )


def test_two_processes_on_the_cpu(tools):
    result = launch(tools, 'dist_train.sh', 'c.py', '2', '--cfg-options', 'a=b c')
    assert result.returncode == 0, result.stderr
    expected = {'arguments': ['c.py', '--launcher', 'pytorch', '--cfg-options', 'a=b c'], 'world': 2}
    assert [json.loads((tools / f'rank{rank}.json').read_text()) for rank in (0, 1)] == [expected] * 2


@pytest.mark.parametrize(
    ('script', 'positional', 'entry'),
    [('dist_train.sh', ['c.py'], 'train.py'), ('dist_test.sh', ['c.py', 'k.pth'], 'test.py')],
)
def test_torchrun_gets_the_number_of_processes_and_the_tool_the_rest(tools, script, positional, entry):
    result = launch(tools, script, *positional, '2', '--cfg-options', 'a=b c', PYTHON=str(tools / 'srun'), PORT='29501')
    assert result.stdout.splitlines() == [
        '-m',
        'torch.distributed.run',
        '--nnodes=1',
        '--node-rank=0',
        '--nproc-per-node=2',
        '--master-addr=127.0.0.1',
        '--master-port=29501',
        str(tools / entry),
        *positional,
        '--launcher',
        'pytorch',
        '--cfg-options',
        'a=b c',
    ]


def test_a_failing_process_fails_the_launch(tools):
    (tools / 'train.py').write_text('raise SystemExit(3)')
    assert launch(tools, 'dist_train.sh', 'c.py', '2').returncode != 0


@pytest.mark.parametrize(
    ('script', 'positional', 'entry'),
    [('slurm_train.sh', ['c.py'], 'train.py'), ('slurm_test.sh', ['c.py', 'k.pth'], 'test.py')],
)
def test_slurm_gets_its_options_and_the_tool_the_rest(tools, script, positional, entry):
    result = launch(tools, script, 'part', 'job', *positional, '--cfg-options', 'a=b c', GPUS='4', SRUN_ARGS='--mem 4G')
    options, command = result.stdout.split(f'{sys.executable}\n')
    assert options.splitlines() == [
        '--partition=part',
        '--job-name=job',
        '--ntasks=4',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        '--gres=gpu:4',
        '--ntasks-per-node=4',
        '--mem',
        '4G',
    ]
    tool = str(tools / entry)
    assert command.splitlines() == ['-u', tool, *positional, '--launcher', 'slurm', '--cfg-options', 'a=b c']


def test_slurm_tasks_without_gpus(tools):
    result = launch(tools, 'slurm_train.sh', 'part', 'job', 'c.py', GPUS='4', GPUS_PER_NODE='0')
    assert '--ntasks=4' in result.stdout
    assert 'gres' not in result.stdout


@pytest.mark.parametrize('script', sorted(path.name for path in TOOLS.glob('*.sh')))
def test_too_few_arguments_print_the_usage(tools, script):
    result = launch(tools, script, 'one')
    assert result.returncode == 2
    assert 'usage:' in result.stderr
