"""One command among many."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class JobError(ValueError):
    """Jobs that cannot be put in order."""


@dataclass(frozen=True)
class Job:
    """A command, what it waits for, and what it leaves.

    Args:
        name: unique; a slash in it makes a folder of logs, e.g. ``'xlearner/squeeze'``.
        command: program and arguments.
        needs: names of the jobs that must have succeeded before. Defaults to none.
        seconds: about how long it takes alone on one core; only the ETA and the order go by it. Defaults to 10.
        inputs: files whose content the result depends on. A missing one counts as empty. Defaults to none.
        folder: where the results of this job, and of no other, go. Emptied before it starts anew. Defaults to None.
        outputs: files without which the job is not done, whatever its exit status. Defaults to none.
        resume: arguments to append where an interrupted run is continued. Defaults to none: it starts anew.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    seconds: float = 10.0
    inputs: tuple[Path, ...] = ()
    folder: Path | None = None
    outputs: tuple[Path, ...] = ()
    resume: tuple[str, ...] = ()

    def fingerprint(self, needed: Iterable[str] = ()) -> str:
        """Return a hash of all that decides the result.

        Args:
            needed: the fingerprints of the jobs in ``needs``: what changes upstream changes everything after it.
        """
        digest = hashlib.sha256(json.dumps([self.command, *needed]).encode())
        for path in self.inputs:
            digest.update(path.read_bytes() if path.is_file() else b'')
            digest.update(b'\0')
        return digest.hexdigest()[:16]

    def missing_outputs(self) -> list[Path]:
        """Return the outputs that are not there."""
        return [path for path in self.outputs if not path.exists()]
