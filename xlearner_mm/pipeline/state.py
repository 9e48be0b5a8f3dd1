"""Record of finished and interrupted jobs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from xlearner_mm.atomic import atomic_write_text


@dataclass
class Record:
    """State of one job.

    Args:
        fingerprint: of the job when it was last started.
        finished: whether it has succeeded since. Defaults to False.
        seconds: its run time, interrupted runs included. Defaults to 0.
    """

    fingerprint: str
    finished: bool = False
    seconds: float = 0.0


class JobStates:
    """Records of all jobs in a JSON file, which is written atomically at every change.

    Args:
        path: the file; a missing or damaged one holds no records.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            self.records = {name: Record(**record) for name, record in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.records = {}

    def is_finished(self, name: str, fingerprint: str) -> bool:
        """Return whether a job with this fingerprint has succeeded."""
        return self._is(name, fingerprint, finished=True)

    def knows(self, name: str, fingerprint: str) -> bool:
        """Return whether a job with this fingerprint has been started."""
        return name in self.records and self.records[name].fingerprint == fingerprint

    def begin(self, name: str, fingerprint: str) -> bool:
        """Record the start of a job; return whether it continues an interrupted run of the same job."""
        if self._is(name, fingerprint, finished=False):
            return True
        self.records[name] = Record(fingerprint)
        self._save()
        return False

    def add_time(self, name: str, seconds: float, finished: bool) -> None:
        """Record the end of a run of a job, and whether it succeeded."""
        record = self.records[name]
        record.seconds += seconds
        record.finished = finished
        self._save()

    def start_over(self, name: str) -> None:
        """Let the next run of a job start over; that it has run stays known."""
        self.records[name].fingerprint = ''
        self._save()

    def adopt(self, name: str, fingerprint: str, finished: bool) -> None:
        """Record a job that was run without a runner: as finished, or to be resumed."""
        self.records[name] = Record(fingerprint, finished)
        self._save()

    def _is(self, name: str, fingerprint: str, finished: bool) -> bool:
        record = self.records.get(name)
        return record is not None and (record.fingerprint, record.finished) == (fingerprint, finished)

    def _save(self) -> None:
        records = {name: asdict(record) for name, record in self.records.items()}
        atomic_write_text(self.path, json.dumps(records, indent=1))
