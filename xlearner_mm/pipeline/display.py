"""Display of progress: bars in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from xlearner_mm.pipeline.progress import Status


class Display:
    """Display of the progress of jobs.

    Args:
        console: to print to. Defaults to None: standard output.
        every: seconds between two lines where it is no terminal. Defaults to 15.
    """

    def __init__(self, console: Console | None = None, every: float = 15.0) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.every = every
        self._shown_at = time.monotonic()
        self._bars = Progress(
            TextColumn('{task.description}'),
            BarColumn(bar_width=30),
            TextColumn('{task.percentage:>3.0f}%'),
            TextColumn('{task.fields[note]}'),
            console=self.console,
            auto_refresh=False,  # forked jobs would inherit its thread
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def say(self, line: str, style: str = '') -> None:
        """Print a line above the bars."""
        self.console.print(line, style=style, markup=False)

    def update(self, status: Status) -> None:
        """Show a status: immediately in a terminal, every few seconds elsewhere."""
        if self.console.is_terminal:
            self._draw(status)
        elif time.monotonic() - self._shown_at >= self.every:
            self._shown_at = time.monotonic()
            jobs = ', '.join(f'{job.name} {int(100 * job.share)}%' for job in status.running)
            self.say(
                f'{duration(status.elapsed):>12} {int(100 * status.share):>3}%  {status.done} of {status.total} jobs '
                f'done, about {duration(status.remaining)} left; running: {jobs}'
            )

    def _draw(self, status: Status) -> None:
        overall = f'{status.done} of {status.total} jobs, {duration(status.elapsed)}, {duration(status.remaining)} left'
        shown = {'all': (status.share, overall)}
        shown |= {job.name: (job.share, f'{duration(job.remaining)} left') for job in status.running}
        for name in self._tasks.keys() - shown.keys():
            self._bars.remove_task(self._tasks.pop(name))
        for name, (share, note) in shown.items():
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=1.0, note='')
            self._bars.update(self._tasks[name], completed=share, note=note)
        self._bars.refresh()


def duration(seconds: float) -> str:
    """Format a time, e.g. ``3 min 05 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'
