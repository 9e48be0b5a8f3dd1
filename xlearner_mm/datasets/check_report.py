"""Check a config's sources and tell what was found: a table, the problems, a contact sheet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from xlearner_mm.datasets.check import SplitReport, check_source
from xlearner_mm.datasets.contact_sheet import save_contact_sheet
from xlearner_mm.datasets.source import SourceError, parse_sources
from xlearner_mm.engine.launch import load_config

_LISTED = 20  # problems of one split that are written out


def check_config(config: str, samples: int | None = 100, sheet: str | None = None, options: Sequence[str] = ()) -> int:
    """Check all sources of a training config.

    Args:
        config: path of a text config.
        samples: images to open per split; None opens all. Defaults to 100.
        sheet: where to draw some images of every source. Defaults to None: nowhere.
        options: ``KEY=VALUE`` overrides of the config. Defaults to none.

    Returns:
        The exit status: 0, or 1 after any problem.
    """
    try:
        sources = parse_sources(_collect(load_config(config, None, options, 'none').to_dict(), config))
    except (FileNotFoundError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    checking = track(sources.values(), 'checking sources', transient=True)
    reports = [report for source in checking for report in check_source(source, samples)]
    Console().print(_table(reports))
    unwritten = sheet is not None and not _write_sheet(sheet, reports)
    for report in reports:
        _print_problems(report)
    return int(unwritten or any(report.problems for report in reports))


def _write_sheet(sheet: str, reports: Sequence[SplitReport]) -> bool:
    try:
        save_contact_sheet(sheet, [report for report in reports if report.split == 'train'])
    except (OSError, ValueError) as error:  # Pillow knows a form by the end of its name
        print(f'error: {sheet} cannot be written: {error}', file=sys.stderr)
        return False
    print(f'wrote {sheet}')
    return True


def _collect(cfg: dict[str, Any], config: str) -> dict[str, dict[str, Any]]:
    """Return the sources with each setting from the component that will read it: overrides may differ."""
    sources = cfg.get('train_dataloader', {}).get('dataset', {}).get('sources')
    if not sources:
        raise SourceError(f'{config} has no train_dataloader.dataset.sources')
    readers = {'network': cfg.get('model', {}), 'val_dataloader': cfg.get('val_dataloader', {})}
    collected = {name: dict(settings) for name, settings in sources.items()}
    for setting, reader in readers.items():
        for name, settings in reader.get('sources', {}).items():
            if name in collected and setting in settings:
                collected[name][setting] = settings[setting]
    return collected


def _table(reports: Sequence[SplitReport]) -> Table:
    table = Table(title='sources')
    for column in ('source', 'split'):
        table.add_column(column, no_wrap=True)
    for column in ('images', 'opened', 'classes', 'sizes', 'problems'):
        table.add_column(column, justify='right')
    for report in reports:
        found = (report.images, len(report.checked), report.classes)
        style = 'red' if report.problems else None
        table.add_row(
            report.source,
            report.split,
            *(f'{number:,}' if number else '-' for number in found),
            _sizes(report),
            str(len(report.problems)),
            style=style,
        )
    return table


def _sizes(report: SplitReport) -> str:
    """Widths and heights from the smallest to the largest picture."""
    if not report.sizes:
        return '-'
    by_area = sorted(report.sizes, key=lambda size: size[0] * size[1])
    smallest, largest = (f'{width}x{height}' for width, height in (by_area[0], by_area[-1]))
    return smallest if smallest == largest else f'{smallest} to {largest}'


def _print_problems(report: SplitReport) -> None:
    for note in report.notes:
        print(f"note: source '{report.source}' ({report.split}): {note}", file=sys.stderr)
    for problem in report.problems[:_LISTED]:
        print(f'error: {problem}', file=sys.stderr)
    more = len(report.problems) - _LISTED
    if more > 0:
        print(f"error: source '{report.source}' ({report.split}): and {more:,} more", file=sys.stderr)
