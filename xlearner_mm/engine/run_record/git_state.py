"""Which version of its source a program runs from."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

SECONDS = 20
"""How long git may take; a repository on a slow file system must not hold a training up."""


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit of the repository that a folder is in, and whether its files differ from it.

    Args:
        folder: anywhere in the repository.

    Returns:
        ``repository``, ``commit``, ``dirty`` (tracked files differ from the commit) and ``diff_sha256`` (of the
        difference; None without one). Where git cannot tell, ``none`` with the reason alone.
    """
    try:
        root = _git(folder, 'rev-parse', '--show-toplevel').decode().strip()
        commit = _git(folder, 'rev-parse', 'HEAD').decode().strip()
        difference = _git(Path(root), 'diff', '--no-ext-diff', '--binary', 'HEAD')
    except FileNotFoundError:
        return {'none': f'git is not installed, or {folder} does not exist'}
    except subprocess.TimeoutExpired:
        return {'none': f'git takes longer than {SECONDS} s in {folder}'}
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors='replace').strip().splitlines()
        return {'none': said[0] if said else f'git failed in {folder}'}
    digest = hashlib.sha256(difference).hexdigest() if difference else None
    return {'repository': root, 'commit': commit, 'dirty': bool(difference), 'diff_sha256': digest}


def _git(folder: Path, *arguments: str) -> bytes:
    command = ('git', '-C', str(folder), *arguments)
    return subprocess.run(command, capture_output=True, check=True, timeout=SECONDS).stdout
