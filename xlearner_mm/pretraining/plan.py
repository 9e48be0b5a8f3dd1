"""The plan of a pretraining: what was asked for, what was chosen, and the configs written for it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from keyword import iskeyword
from os import PathLike, cpu_count, fspath
from pathlib import Path
from typing import Any

from xlearner_mm.analysis.dry_run import Estimate, estimate_config
from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.config.options import read_config
from xlearner_mm.config.text import Choice, code
from xlearner_mm.errors import ConfigError
from xlearner_mm.layouts import Layout, describe, recognize
from xlearner_mm.layouts.folder import PART_OF
from xlearner_mm.pipeline.display import duration
from xlearner_mm.pretraining.choices import (
    Device,
    Lengths,
    Peak,
    choose_backbone,
    choose_batch_size,
    choose_lengths,
    choose_network,
    choose_size,
    factor_that_fits,
    find_device,
    fitting,
    lengths_within,
    parse_budget,
)
from xlearner_mm.pretraining.source_file import pixel_shares, source_choices, source_text
from xlearner_mm.pretraining.stage_files import (
    EXPANSION,
    SQUEEZE,
    STAGES,
    expansion_choices,
    expansion_text,
    squeeze_choices,
    squeeze_text,
)
from xlearner_mm.sources import unfit_name
from xlearner_mm.typed_json import from_json, to_json

RECORD, JOBS = 'pretrain.json', 'jobs.json'
MEASURE = 'measure'
"""Folder of the steps that are measured for a budget."""
_PLANNED = {'sources', f'{EXPANSION}.py', f'{SQUEEZE}.py', MEASURE}
TASKS = ('cls', 'det', 'seg')
Folders = Mapping[str, 'str | PathLike[str]'] | Iterable['str | PathLike[str]'] | None


@dataclass(frozen=True)
class Request:
    """The folders and settings that a user gives.

    Args:
        folders: task -> source -> folder.
        budget: such as ``'8h'``. Defaults to None.
        epochs: of the largest source. Defaults to None.
        steps: of the expansion. Defaults to None.
        seed: of splits and trainings. Defaults to 0.
        workers: processes that load images. Defaults to None: by the cores.
        backbone: such as ``'resnet50'``. Defaults to None: by device and data.
        device: ``'cuda'`` or ``'cpu'``. Defaults to None: a GPU if there is one.

    Raises:
        ConfigError: no folder, or settings that contradict each other or are impossible.
    """

    folders: dict[str, dict[str, str]]
    budget: str | None = None
    epochs: float | None = None
    steps: int | None = None
    seed: int = 0
    workers: int | None = None
    backbone: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        names = [name for folders in self.folders.values() for name in folders]
        if not names:
            raise ConfigError('no folder: give at least one of --cls, --det and --seg (cls=, det=, seg=)')
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f'several sources are called {twice}: give each a name of its own, NAME=FOLDER')
        lengths = {'budget': self.budget, 'epochs': self.epochs, 'steps': self.steps}
        given = [f'{name} {value!r}' for name, value in lengths.items() if value is not None]
        if len(given) > 1:
            raise ConfigError(f'{" and ".join(given)} each decide the length: give one')
        if self.epochs is not None and not (isinstance(self.epochs, int | float) and 0 < self.epochs < math.inf):
            raise ConfigError(f'epochs must be a finite number above 0, got {self.epochs!r}')
        for name, value, least in (('steps', self.steps, 1), ('workers', self.workers, 0), ('seed', self.seed, 0)):
            if value is None and name != 'seed':
                continue
            if not isinstance(value, int) or not least <= value < 2**32:
                raise ConfigError(f'{name} must be a whole number from {least} to below 2**32, got {value!r}')
        if self.budget is not None:
            parse_budget(self.budget)

    def changes(self, other: Request) -> str:
        """Return the settings in which another request differs, for a message."""
        mine, others = vars(self), vars(other)
        return ', '.join(f'{key} {mine[key]!r}, not {others[key]!r}' for key in mine if mine[key] != others[key])


def named_folders(given: Folders) -> dict[str, str]:
    """Return source -> absolute folder.

    Args:
        given: a mapping, or ``NAME=FOLDER`` or folders alone, whose own names are made names of sources, or those of
            their parents where they are called like a part (``train``).

    Raises:
        ConfigError: a name that no source can have, or that two have, or no folder.
    """
    if isinstance(given, str | PathLike):
        given = [given]
    pairs = list(given.items()) if isinstance(given, Mapping) else [_named(fspath(each)) for each in given or ()]
    found: dict[str, str] = {}
    for name, folder in pairs:
        if not isinstance(folder, str | PathLike) or not fspath(folder):
            raise ConfigError(f"'{name}' names the folder {folder!r}: give NAME=FOLDER with the path of one")
        reason = unfit_name(name) or ('is a keyword of Python' if iskeyword(name) else '')
        if reason:
            raise ConfigError(
                f"{fspath(folder)}: no source can be called '{name}': the name {reason}; give NAME=FOLDER with another "
                'name'
            )
        if name in found:
            raise ConfigError(f"{fspath(folder)} and {found[name]} are both called '{name}': give NAME=FOLDER")
        found[name] = str(Path(folder).absolute())
    return found


def _named(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition('=')
    if equals and not Path(text).is_dir():
        return name, folder
    path = Path(text).absolute()
    own = path.parent.name if path.name.lower() in PART_OF else path.name
    return re.sub(r'\W+|_+', '_', own).strip('_').lower(), text


@dataclass(frozen=True)
class Line:
    """A choice as it is printed: file, setting, value and reason."""

    file: str
    setting: str
    value: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """The record of a pretraining in ``<out>/pretrain.json``.

    Args:
        request: what was asked for.
        sources: source -> task.
        lines: the choices.
        understood: the folders, for people.
        summary: memory and time, for people.
        seconds: stage -> estimated duration.
        device: kind of the device that trains.
        written: file -> hash of its content.
    """

    request: Request
    sources: dict[str, str]
    lines: list[Line]
    understood: str
    summary: str
    seconds: dict[str, float]
    device: str
    written: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of their branches."""
        return list(dict.fromkeys(self.sources.values()))

    @property
    def stages(self) -> list[str]:
        """The trainings: of one task, there is nothing to squeeze."""
        return [EXPANSION, SQUEEZE] if len(self.tasks) > 1 else [EXPANSION]

    @property
    def limits(self) -> str:
        """What X-Learner cannot add to this pretraining; empty for several tasks."""
        if len(self.tasks) > 1:
            return ''
        if len(self.sources) == 1:
            learned = 'one source has one branch, trained as its stock network is'
        else:
            learned = 'sources of one task share one branch, which learns from all of them'
        return (
            f"{learned}, and exported. X-Learner's links and squeeze work between tasks: to learn across them, add a "
            f'folder by {" or ".join(f"--{task}" for task in TASKS if task not in self.tasks)}.'
        )

    def edited(self, out: Path) -> list[str]:
        """Return the files that are no longer as they were written."""
        return [file for file, digest in self.written.items() if _digest(out / file) != digest]

    def show(self, out: Path) -> None:
        """Print what was understood and chosen, and which of the files in ``out`` were edited since."""
        print(self.understood)
        edited = self.edited(out)
        for file in self.written:
            print(f'{file}, edited since: the file decides, not the values below' if file in edited else file)
            for line in (line for line in self.lines if line.file == file):
                text = f'{line.setting} = {line.value}: {line.reason}'
                print(textwrap.fill(text, 118, initial_indent='  ', subsequent_indent='      '))
        print(self.summary)
        if self.limits:
            print(f'note: {self.limits}')


def open_plan(request: Request, out: Path, measure: Callable[[Path, Device], float]) -> Plan:
    """Return the plan in a folder, or make it.

    A plan of which no training has begun and no config was edited is made again: the folders may have changed. Else
    the same request finds its plan, and its configs with whatever was edited in them; another one is refused.

    Args:
        request: what is asked for.
        out: folder of the pretraining.
        measure: returns the seconds of a step of a config.

    Raises:
        ConfigError: the folder holds another pretraining, or something cannot be chosen.
        SourceError: a folder that cannot be recognized.
    """
    there = next(path for path in (out, *out.parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f'--out {out}: {there} is a file; give a folder')
    known = _read(out)
    if known is not None:
        missing = [file for file in known.written if not (out / file).is_file()]
        if missing:
            raise ConfigError(f'{out / missing[0]} is missing: restore it, or give another --out')
        edited = known.edited(out)
        reason = 'has begun' if _has_begun(out) else f'has edited configs ({edited[0]})' if edited else ''
        if reason and known.request != request:
            changes = known.request.changes(request)
            raise ConfigError(
                f'{out} holds a pretraining that {reason}: {changes}; give another --out, or edit its configs'
            )
        if reason:
            again = 'give another --out' if _has_begun(out) else f'delete {out / RECORD}, which drops the edits'
            print(f'as planned before, since it {reason}; to look at the folders again, {again}')
            return known
    elif out.is_dir() and (other := sorted({path.name for path in out.iterdir()} - _PLANNED)):
        raise ConfigError(f'{out} holds {other[0]} and no {RECORD}: give an empty folder, or a new one, as --out')
    return _Planner(request, out).make(measure)


def _has_begun(out: Path) -> bool:
    """Return whether a job, or a training without one, has started."""
    return (out / JOBS).exists() or (out / STAGES).exists()


def _read(out: Path) -> Plan | None:
    path = out / RECORD
    if not path.exists():
        return None
    try:
        return from_json(Plan, json.loads(path.read_text(encoding='utf-8')))
    except ValueError as error:
        raise ConfigError(f'{path} is not the record of a pretraining: {error}; give another --out') from error


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''


class _Planner:
    """Choices in order: what depends on nothing, the batches that fit, the length, and the rest."""

    def __init__(self, request: Request, out: Path) -> None:
        self.request, self.out = request, out
        self.device = find_device(request.device)
        folders = [(task, name, folder) for task in TASKS for name, folder in request.folders.get(task, {}).items()]
        with redirect_stdout(io.StringIO()):  # readers of labels talk
            self.layouts: list[Layout] = [recognize(*each, out, request.seed) for each in folders]
            self.pixels = {each.name: pixel_shares(each) for each in self.layouts if each.task == 'seg'}
        self.tasks = list(dict.fromkeys(layout.task for layout in self.layouts))
        images = sum(layout.train.images for layout in self.layouts)
        self.backbone, self.why = choose_backbone(request.backbone, self.device, images)
        self.sizes = {layout.name: choose_size(layout, self.device) for layout in self.layouts}
        self.batches = {
            layout.name: choose_batch_size(layout, self.device, self.sizes[layout.name].value)
            for layout in self.layouts
        }
        self.stages = [EXPANSION, SQUEEZE] if len(self.tasks) > 1 else [EXPANSION]

    def make(self, measure: Callable[[Path, Device], float]) -> Plan:
        """Choose everything, write the configs and the record, and return it."""
        self.write(self._lengths())
        estimates = {stage: self._estimate(stage) for stage in self.stages}
        peaks = [_peak(estimate) for estimate in estimates.values()]
        factor = factor_that_fits(peaks, self.device.memory)
        self.batches = {name: fitting(batch, factor, self.device) for name, batch in self.batches.items()}
        flops = {stage: factor * estimate.flops_per_step for stage, estimate in estimates.items()}
        seconds = {stage: count / self.device.flops for stage, count in flops.items()}
        speed = f'its FLOPs at an assumed {self.device.flops / 1e9:,.0f} GFLOP/s'
        lengths = self._lengths()
        if self.request.budget is not None:
            self.write(lengths)
            measured = measure(self.out / f'{EXPANSION}.py', self.device)
            seconds = {stage: measured * count / flops[EXPANSION] for stage, count in flops.items()}
            speed = f'{measured:.3g} s of a measured step'
            lengths = lengths_within(parse_budget(self.request.budget), measured, seconds.get(SQUEEZE, 0.0))
        files = self.write(lengths)
        steps = {EXPANSION: lengths.expansion, SQUEEZE: lengths.squeeze}
        whole = {stage: steps[stage] * seconds[stage] for stage in self.stages}
        peak = max(peak.bytes(factor) for peak in peaks)
        plan = Plan(
            request=self.request,
            sources={layout.name: layout.task for layout in self.layouts},
            lines=[Line(file, c.setting, _short(c.value), c.reason) for file, own in files.items() for c in own],
            understood=describe(self.layouts),
            summary=self._summary(peak, whole, speed),
            seconds=whole,
            device=self.device.kind,
            written={file: _digest(self.out / file) for file in files},
        )
        atomic_write_text(self.out / RECORD, json.dumps(to_json(plan), indent=1, ensure_ascii=False))
        return plan

    def _lengths(self) -> Lengths:
        images = {layout.name: layout.train.images for layout in self.layouts}
        sizes = {name: batch.value for name, batch in self.batches.items()}
        return choose_lengths(images, sizes, self.device, self.request.epochs, self.request.steps)

    def write(self, lengths: Lengths) -> dict[str, list[Choice]]:
        """Write all configs, and return file -> its choices."""
        chosen: dict[str, list[Choice]] = {}
        texts: dict[str, str] = {}
        workers = self.request.workers
        if workers is None:
            workers = min(8 if self.device.kind == 'cuda' else 2, cpu_count() or 1)
        for layout in self.layouts:
            size, batch = self.sizes[layout.name], self.batches[layout.name]
            pixels = self.pixels.get(layout.name, [])
            network = choose_network(layout, self.device, self.backbone, size.value, lengths.expansion, pixels)
            file = f'sources/{layout.name}.py'
            chosen[file] = [size, batch, *source_choices(layout), network]
            texts[file] = source_text(layout, chosen[file], workers)
        of_all = (self.tasks, self.backbone)
        chosen[f'{EXPANSION}.py'] = expansion_choices(
            *of_all, self.why, self.device, lengths, workers, self.request.seed
        )
        texts[f'{EXPANSION}.py'] = expansion_text(self.layouts, chosen[f'{EXPANSION}.py'], self.out)
        if SQUEEZE in self.stages:
            chosen[f'{SQUEEZE}.py'] = squeeze_choices(*of_all, self.device, lengths)
            names = [layout.name for layout in self.layouts]
            texts[f'{SQUEEZE}.py'] = squeeze_text(names, chosen[f'{SQUEEZE}.py'], self.out)
        for file, text in texts.items():
            atomic_write_text(self.out / file, text)
        return chosen

    def _estimate(self, stage: str) -> Estimate:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the libraries' own deprecations
            cfg = read_config(str(self.out / f'{stage}.py'))
            # In 32 bits, which take no less memory; 16 are many times slower on most CPUs.
            cfg.optim_wrapper = {**cfg.optim_wrapper, 'type': 'OptimWrapper'}
            cfg.optim_wrapper.pop('loss_scale', None)
            return estimate_config(cfg)

    def _summary(self, peak: float, seconds: Mapping[str, float], speed: str) -> str:
        there = f'{self.device.memory / 1e9:.1f} GB on {self.device.name}'
        memory = f'memory: about {peak / 1e9:.2f} of {there}, by a dry run in 32 bits'
        times = ', '.join(f'{stage} about {duration(seconds[stage])}' for stage in self.stages)
        return f'{memory}\ntime: {times}, by {speed}; validation comes on top'


def _peak(estimate: Estimate) -> Peak:
    return Peak(sum(estimate.memory.values()), estimate.memory['gradients'], estimate.activation_bytes)


def _short(value: Any) -> str:
    """Return a value for a table: of a network or a pipeline, the types alone."""
    if isinstance(value, Mapping) and 'data_preprocessor' in value:
        return str(value['type'])
    if isinstance(value, list):
        return ', '.join(str(step['type']) for step in value)
    return ' '.join(code(value).split())
