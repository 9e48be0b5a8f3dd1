"""The page of all command lines: what each tool's own help says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def tools_page(tools: Path) -> str:
    """Return the helps of all tools, asked for now.

    Args:
        tools: the folder of the tools.

    Raises:
        RuntimeError: a tool whose help fails.
    """
    scripts = [*sorted(tools.glob('*.py')), *sorted(tools.glob('benchmark/*.py'))]
    doctor = ['-m', 'xlearner_mm.doctor']
    commands = {f'python {_name(path, tools)}': [str(path)] for path in scripts} | {
        'python -m xlearner_mm.doctor': doctor
    }
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        helps = dict(
            zip(commands, pool.map(lambda command: _help(command, tools.parent), commands.values()), strict=True)
        )
    lines = [
        '# Command lines',
        '',
        'What `--help` of each says. `--cfg-options` overrides any setting of a config.',
        '',
    ]
    for command, text in helps.items():
        lines += [f'## `{command}`', '', '```text', text.strip(), '```', '']
    for path in sorted(tools.glob('*.sh')):
        lines += [f'## `bash {_name(path, tools)}`', '', '```text', _comment_of(path), '```', '']
    return '\n'.join(lines)


def _name(path: Path, tools: Path) -> str:
    return path.relative_to(tools.parent).as_posix()


def _help(command: list[str], folder: Path) -> str:
    # The width is argparse's, which reads it from here.
    environment = {**os.environ, 'COLUMNS': '100'}
    done = subprocess.run(
        [sys.executable, *command, '--help'], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f'{command} --help failed: {done.stderr}')
    return done.stdout


def _comment_of(script: Path) -> str:
    """The comment that a shell script begins with."""
    lines = re.match(r'#!.*\n((?:#.*\n)+)', script.read_text())
    if lines is None:
        raise RuntimeError(f'{script} does not begin with a comment')
    return '\n'.join(line.removeprefix('#').removeprefix(' ') for line in lines[1].splitlines())
