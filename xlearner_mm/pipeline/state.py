"""What has been done, on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from xlearner_mm.atomic import atomic_write_text


@dataclass
class Record:
    """The state of one job.

    Args:
        fingerprint: of the job when it was started last.
        finished: whether it has succeeded since. Defaults to False.
        seconds: how long it has run, over all its interrupted runs. Defaults to 0.
    """

    fingerprint: str
    finished: bool = False
    seconds: float = 0.0


class JobStates:
    """The records of all jobs, in a file that is whole at every moment.

    Args:
        path: the JSON file; made by the first change. One that cannot be read counts as none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            self.records = {name: Record(**record) for name, record in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.records = {}

    def is_finished(self, name: str, fingerprint: str) -> bool:
        """Return whether the job has succeeded as it is now."""
        record = self.records.get(name)
        return record is not None and record.finished and record.fingerprint == fingerprint

    def begin(self, name: str, fingerprint: str) -> bool:
        """Note that a job starts; return whether it goes on from an interrupted run of the same job."""
        record = self.records.get(name)
        interrupted = record is not None and not record.finished and record.fingerprint == fingerprint
        if not interrupted:
            self.records[name] = Record(fingerprint)
            self._save()
        return interrupted

    def add_time(self, name: str, seconds: float, finished: bool) -> None:
        """Note that a job has run for some more seconds, and whether it has succeeded."""
        record = self.records[name]
        record.seconds += seconds
        record.finished = finished
        self._save()

    def forget(self, name: str) -> None:
        """Make the next run of a job start anew."""
        if self.records.pop(name, None):
            self._save()

    def seconds(self, name: str) -> float:
        """Return how long a job has run in all; 0 where it never has."""
        record = self.records.get(name)
        return record.seconds if record else 0.0

    def _save(self) -> None:
        atomic_write_text(
            self.path, json.dumps({name: asdict(record) for name, record in self.records.items()}, indent=1)
        )
