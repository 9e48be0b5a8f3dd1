"""Shows that a long command is alive."""
# ruff: noqa: UP006, UP035 - Python 3.6 must be able to read this file

import re
import shutil
import sys
import time
from pathlib import Path
from typing import List

REPORT_SECONDS = 30


class Progress:
    """One line that changes on a terminal, a rare line elsewhere.

    Args:
        log: where the command's output goes.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.start = self.reported = time.time()
        self.is_terminal = sys.stdout.isatty()
        self.width = shutil.get_terminal_size(fallback=(100, 24)).columns - 1

    def update(self) -> None:
        """Shows the elapsed time and what the log says."""
        now = time.time()
        line = f'      {duration(now - self.start)}  {activity(self.log)}'[: self.width]
        if self.is_terminal:
            print('\r' + line.ljust(self.width), end='', flush=True)
        elif now - self.reported >= REPORT_SECONDS:
            self.reported = now
            print(line, flush=True)

    def finish(self, result: str) -> None:
        """Replaces the changing line by the result."""
        clear = '\r' + ' ' * self.width + '\r' if self.is_terminal else ''
        elapsed = duration(time.time() - self.start)
        print(f'{clear}      {result} after {elapsed}', flush=True)


def activity(log: Path) -> str:
    """What a log says last; of a compilation, how many files are done."""
    lines = tail(log, size=20000)
    for line in reversed(lines):
        compiled = re.match(r'\s*\[(\d+)/(\d+)\]', line)
        if compiled:
            return '{} of {} files compiled'.format(*compiled.groups())
    return lines[-1].strip() if lines else ''


def tail(log: Path, size: int) -> List[str]:
    """The lines in the last `size` bytes of a log, without empty ones."""
    with log.open('rb') as stream:
        stream.seek(max(0, log.stat().st_size - size))
        text = stream.read().decode('utf-8', 'replace')
    return [line for line in re.split(r'[\r\n]+', text) if line.strip()]


def duration(seconds: float) -> str:
    """Writes a time as a person would."""
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'
