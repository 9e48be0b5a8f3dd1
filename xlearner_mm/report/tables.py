"""A table of text cells, and its four forms: Markdown, CSV, JSON and terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from xlearner_mm.report.rows import (
    SUMMARY,
    Row,
    all_sets,
    best_rows,
    comparable,
    deviation_of,
    is_paper,
    protocol_label,
    protocols_differ,
    shared_label,
    titles_of,
    value_of,
)
from xlearner_mm.tasks import OTHER_METRICS, TASK_METRICS

_UNLIMITED = 10_000  # columns


@dataclass(frozen=True)
class Table:
    """Cells as they are shown.

    Args:
        header: titles of the columns.
        lines: as many cells in each as the header has.
        best: (line, column) of the cells that are set off. Defaults to none.
        faint: lines that stand back, such as the paper's among measured ones. Defaults to none.
    """

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()
    faint: frozenset[int] = frozenset()

    def numeric(self, column: int) -> bool:
        """Return whether a column holds numbers and dashes only."""
        return bool(self.lines) and all(_is_number(line[column]) for line in self.lines)


def markdown(table: Table) -> str:
    """Return a Markdown table: the best in bold, the faint in italics."""
    lines = [
        [_emphasised(table, line, column, cell) for column, cell in enumerate(cells)]
        for line, cells in enumerate(table.lines)
    ]
    ruler = ['---:' if table.numeric(column) else '---' for column in range(len(table.header))]
    header = [_escaped(title) for title in table.header]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in (header, ruler, *lines))


def csv_text(header: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """Return comma-separated values; what is None is left empty."""
    out = io.StringIO()
    csv.writer(out, lineterminator='\n').writerows([header, *lines])
    return out.getvalue()


def json_text(content: Mapping[str, Any]) -> str:
    """Return indented JSON with its letters as they are."""
    return json.dumps(content, indent=2, ensure_ascii=False) + '\n'


def print_table(table: Table, title: str, console: Console | None = None) -> None:
    """Print a table in the terminal.

    Args:
        table: what.
        title: what stands above it.
        console: where to. Defaults to None: standard output.
    """
    drawn = RichTable(title=title, title_justify='left')
    for column, name in enumerate(table.header):
        drawn.add_column(name, justify='right' if table.numeric(column) else 'left', overflow='fold')
    for line, cells in enumerate(table.lines):
        styles = ['bold' if (line, column) in table.best else '' for column in range(len(cells))]
        drawn.add_row(*map(Text, cells, styles), style='dim' if line in table.faint else None)
    console = console or Console()
    if not console.is_terminal:  # a file or a pipe has no edge to fold at
        natural = Measurement.get(console, console.options.update(max_width=_UNLIMITED), drawn).maximum
        console = Console(file=console.file, width=max(natural, console.width))
    console.print(drawn)


def _emphasised(table: Table, line: int, column: int, cell: str) -> str:
    text = _escaped(cell)
    if (line, column) in table.best:
        return f'**{text}**'
    return f'*{text}*' if line in table.faint and column == 0 else text


def _escaped(cell: str) -> str:
    return cell.replace('|', r'\|').replace('*', r'\*')


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell in ('-', '/', '')


Upstream = Mapping[str, Mapping[str, Any]]


def summary_table(rows: Sequence[Row], titles: Mapping[str, str] = SUMMARY) -> Table:
    """Return a method's mean of every task, its size, and how long it took; one method a line.

    What only some reports know (fidelity, FLOPs, the training's budget, differing protocols) has a column where a row
    knows it.

    Args:
        rows: of the report.
        titles: of the columns: summary or set -> title. Defaults to the summaries under their metrics.
    """
    rows = comparable(rows)
    columns = {title: [_score(row, column) for row in rows] for column, title in titles.items()}
    if any('fidelity' in row for row in rows):
        columns['fidelity'] = [_number(row.get('fidelity'), '.1f') for row in rows]
    columns['params (M)'] = [_number(row.get('params_m'), '.2f') for row in rows]
    if any('flops_g' in row for row in rows):
        columns['GFLOPs'] = [_number(row.get('flops_g'), '.2f') for row in rows]
    if any('steps' in row for row in rows):
        columns['steps'] = [_number(row.get('steps'), 'd') for row in rows]
        columns['train TFLOPs'] = [_number(row.get('train_tflops'), '.2f') for row in rows]
    columns['time'] = [_number(row.get('seconds'), '.0f', ' s') for row in rows]
    if protocols_differ(rows):
        columns['protocol'] = [protocol_label(row) for row in rows]
    lines = [[row['method'], *cells] for row, *cells in zip(rows, *columns.values(), strict=True)]
    best = {(line, 1 + place) for place, column in enumerate(titles) for line in best_rows(rows, column)}
    faint = frozenset(line for line, row in enumerate(rows) if is_paper(row))
    return Table(['method', *columns], lines, frozenset(best), faint)


def transfer_table(rows: Sequence[Row]) -> Table:
    """Return one transfer set a line, one method a column; methods without any single set are left out."""
    rows = [row for row in comparable(rows) if row['transfer']]
    best: set[tuple[int, int]] = set()
    lines = []
    for line, (name, score) in enumerate(all_sets(rows).items()):
        lines.append([name, score['task'], metric_label(score), *(_score(row, name) for row in rows)])
        best |= {(line, 3 + index) for index in best_rows(rows, name)}
    return Table(['set', 'task', 'metric', *titles_of(rows)], lines, frozenset(best))


def upstream_table(columns: Mapping[str, Upstream]) -> Table:
    """Return one source and metric a line, one trained network a column.

    Args:
        columns: title -> source -> ``{'metric', 'value'}``; a ``'fidelity'`` stands in brackets behind its value.
    """
    judged = dict.fromkeys((name, scores['metric']) for column in columns.values() for name, scores in column.items())
    lines = [
        [name, metric, *(_source(column.get(name, {}), metric) for column in columns.values())]
        for name, metric in judged
    ]
    return Table(['source', 'metric', *columns], lines)


def notes(rows: Sequence[Row]) -> list[str]:
    """Return what a reader must know to compare the rows, a sentence each."""
    measured = [row for row in rows if not is_paper(row)]
    said = ['All values are percentages; higher is better.']
    if any(_deviates(row) for row in measured):
        said.append('± is the standard deviation over the seeds.')
    if any(value is None for row in comparable(measured) for value in (row[column] for column in SUMMARY)):
        said.append('A dash in a summary: no set of that task, or one of them failed or was left out.')
    if any('steps' in row for row in measured):
        said.append(
            'Steps and train TFLOPs are those of all trainings of the backbone, from its sources on: forward and '
            'backward passes, a multiply-add being two, without validation. A pruning counts as if nothing were pruned.'
        )
    if protocols_differ(measured):
        said.append('Rows of different protocols do not compare; the best is marked within each protocol.')
    elif measured and measured[0].get('protocol'):
        said.append(f'Protocol of the measured rows: {shared_label(measured)}.')
    if len(measured) < len(rows):
        said.append(
            "Rows named (paper) are the numbers of the paper's slides, not measured here; they are over ten "
            'classification sets, PASCAL VOC and NYU-Depth V2, and compare with rows over these sets only. '
            "An asterisk is the slides' own mark."
        )
    return said


def rows_as_csv(rows: Sequence[Row], titles: Mapping[str, str] = SUMMARY) -> str:
    """Return one method a line with all its numbers in percent, as few words as possible.

    Args:
        rows: of the report.
        titles: as :func:`summary_table` takes them. Defaults to the summaries under their metrics.
    """
    rows = comparable(rows)
    scores = {**{name: name for name in (*titles, *all_sets(rows))}, **titles}
    sources = list(dict.fromkeys(name for row in rows for name in row['upstream']))
    header = ['method', 'source', 'protocol', *(title for name in scores.values() for title in (name, f'{name}_std'))]
    header += [f'upstream/{name}' for name in sources]
    numbers = ('fidelity', 'params_m', 'flops_g', 'steps', 'train_tflops', 'seconds')
    header += [*numbers, 'sha256']
    lines = [
        [
            row['method'],
            row.get('source', 'measured'),
            protocol_label(row),
            *(number for name in scores for number in (value_of(row, name), deviation_of(row, name))),
            *(row['upstream'].get(name, {}).get('value') for name in sources),
            *(row.get(key) for key in numbers),
            row.get('backbone', {}).get('sha256'),
        ]
        for row in rows
    ]
    return csv_text(header, lines)


def metric_label(score: Mapping[str, Any]) -> str:
    """Return what papers call a score's metric; its own key where we know no name of it."""
    labels = {metric.key: metric.label for metric in (*TASK_METRICS.values(), *OTHER_METRICS.values())}
    return labels.get(score['metric'], score['metric'])


def _score(row: Mapping[str, Any], column: str) -> str:
    deviation = deviation_of(row, column)
    spread = '' if deviation is None else f' ± {deviation:.1f}'
    return _number(value_of(row, column), '.1f', row.get('marks', {}).get(column, '') + spread)


def _source(scores: Mapping[str, Any], metric: str) -> str:
    if scores.get('metric') != metric:
        return '-'
    fidelity = f' ({scores["fidelity"]:.0f}%)' if 'fidelity' in scores else ''
    return _number(scores['value'], '.1f', fidelity)


def _number(value: float | None, form: str, suffix: str = '') -> str:
    return '-' if value is None else f'{value:{form}}{suffix}'


def _deviates(row: Mapping[str, Any]) -> bool:
    return 'std' in row or any('std' in score for score in row['transfer'].values())
