"""Planning: whether the plan in a folder stays, and the choices of a new one in their order."""

from __future__ import annotations

import io
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from xlearner_mm.analysis.dry_run import Estimate, estimate_config
from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.config.options import read_config
from xlearner_mm.config.text import Choice, code
from xlearner_mm.errors import ConfigError
from xlearner_mm.layouts import Layout, describe, recognize
from xlearner_mm.machine import usable_cores
from xlearner_mm.pipeline.display import duration
from xlearner_mm.pretraining.choices import (
    Device,
    Peak,
    choose_backbone,
    choose_batch_size,
    choose_network,
    choose_size,
    factor_that_fits,
    find_device,
    fitting,
)
from xlearner_mm.pretraining.lengths import Costs, Lengths, Speed, choose_lengths, lengths_within, parse_budget
from xlearner_mm.pretraining.plan import RECORD, Line, Plan, digest_of, read_plan
from xlearner_mm.pretraining.request import TASKS, Request
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

JOBS = 'jobs.json'
MEASURE = 'measure'
"""Folder of the steps that are measured for a budget."""
_PLANNED = {'sources', f'{EXPANSION}.py', f'{SQUEEZE}.py', MEASURE}
"""Files and folders that an interrupted planning leaves."""
_FORWARD = 1 / 3  # of the FLOPs of forward and backward passes
Measure = Callable[[Path, Mapping[str, int], Device], Speed]
"""Measures a config: source -> images in a validation, and the device that trains."""


def open_plan(request: Request, out: Path, measure: Measure) -> Plan:
    """Return the plan in a folder, or make it.

    A plan of which no training has begun and no config was edited is made again: the folders may have changed. Else
    the same request finds its plan, and its configs with whatever was edited in them; another one is refused.

    Args:
        request: what is asked for.
        out: folder of the pretraining.
        measure: returns the speed of a config, for so many images of each source in a validation.

    Raises:
        ConfigError: the folder holds another pretraining, is in a source or cannot be written to, or something cannot
            be chosen.
        SourceError: a folder that cannot be recognized.
    """
    there = next(path for path in (out, *out.parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f'--out {out}: {there} is a file; give a folder')
    known = read_plan(out)
    if known is None and out.is_dir() and (other := sorted({path.name for path in out.iterdir()} - _PLANNED)):
        raise ConfigError(f'{out} holds {other[0]} and no {RECORD}: give an empty folder, or a new one, as --out')
    if known is not None and _stays(known, request, out):
        return known
    _refuse_unusable(request, out)
    return _Planner(request, out).make(measure)


def _refuse_unusable(request: Request, out: Path) -> None:
    """Refuse a folder that cannot be written to, or whose files would be taken for a source's."""
    for sources in request.folders.values():
        for name, folder in sources.items():
            if out.resolve().is_relative_to(Path(folder).resolve()):
                raise ConfigError(
                    f"--out {out} is in the folder of source '{name}', whose images and labels its files would be "
                    'taken for: give a folder outside'
                )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ConfigError(f'--out {out} cannot be written to: {error.strerror}; give another folder') from error


def _stays(known: Plan, request: Request, out: Path) -> bool:
    """Return whether a plan is kept: its training has begun, or its configs were edited; print the reason.

    Raises:
        ConfigError: it is kept, and another request was made, or a config is missing.
    """
    missing = [file for file in known.written if not (out / file).is_file()]
    if missing:
        raise ConfigError(f'{out / missing[0]} is missing: restore it, or give another --out')
    edited, begun = known.edited(out), (out / JOBS).exists() or (out / STAGES).exists()
    if not begun and not edited:
        return False
    reason = 'has begun' if begun else f'has edited configs ({edited[0]})'
    if known.request != request:
        changes = known.request.changes(request)
        raise ConfigError(
            f'{out} holds a pretraining that {reason}: {changes}; give another --out, or edit its configs'
        )
    again = 'give another --out' if begun else f'delete {out / RECORD}, which drops the edits'
    print(f'as planned before, since it {reason}; to look at the folders again, {again}')
    return True


class _Planner:
    """Choices in order: what depends on nothing, the batches that fit, the length, and the rest."""

    def __init__(self, request: Request, out: Path) -> None:
        self.request, self.out, self.began = request, out, time.monotonic()
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

    def make(self, measure: Measure) -> Plan:
        """Choose everything, write the configs and the record, and return it."""
        self.write(self._lengths())
        estimates = {stage: self._estimate(stage) for stage in self.stages}
        peaks = [_peak(estimate) for estimate in estimates.values()]
        factor = factor_that_fits(peaks, self.device.memory)
        self.batches = {name: fitting(batch, factor, self.device) for name, batch in self.batches.items()}
        lengths, costs = self._lengths(), self._costs(estimates, factor, 1 / self.device.flops)
        speed = f'its FLOPs at an assumed {self.device.flops / 1e9:,.0f} GFLOP/s'
        if self.request.budget is not None:
            self.write(lengths)
            images = {layout.name: layout.val.images for layout in self.layouts}
            measured = measure(self.out / f'{EXPANSION}.py', images, self.device)
            costs = self._costs(estimates, factor, measured.step / (factor * estimates[EXPANSION].flops_per_step))
            costs = replace(costs, validation=measured.validation)
            speed = f'{measured.step:.3g} s of a measured step'
            lengths = lengths_within(parse_budget(self.request.budget), time.monotonic() - self.began, costs)
        files = self.write(lengths)
        whole = {EXPANSION: costs.of_expansion(lengths.expansion), SQUEEZE: costs.of_squeeze(lengths.squeeze)}
        peak = max(peak.bytes(factor) for peak in peaks)
        plan = Plan(
            request=self.request,
            sources={layout.name: layout.task for layout in self.layouts},
            lines=[Line(file, c.setting, _short(c.value), c.reason) for file, own in files.items() for c in own],
            understood=describe(self.layouts),
            summary=self._summary(peak, whole, speed),
            seconds={stage: whole[stage] for stage in self.stages},
            device=self.device.kind,
            written={file: digest_of(self.out / file) for file in files},
            validation=costs.validation,
        )
        plan.write(self.out)
        return plan

    def _costs(self, estimates: Mapping[str, Estimate], factor: float, seconds_per_flop: float) -> Costs:
        """Return the seconds of the stages with batches of a factor; a validation is forward passes alone."""
        steps = {stage: factor * seconds_per_flop * estimate.flops_per_step for stage, estimate in estimates.items()}
        an_image = {each.name: each.flops_per_step / each.images_per_step for each in estimates[EXPANSION].sources}
        validation = sum(layout.val.images * an_image[layout.name] for layout in self.layouts) * _FORWARD
        return Costs(steps[EXPANSION], steps.get(SQUEEZE, 0.0), validation * seconds_per_flop)

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
            workers = min(8 if self.device.kind == 'cuda' else 2, usable_cores())
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
        return f'{memory}\ntime: {times}, with validation, by {speed}'


def _peak(estimate: Estimate) -> Peak:
    return Peak(sum(estimate.memory.values()), estimate.memory['gradients'], estimate.activation_bytes)


def _short(value: Any) -> str:
    """Return a value for a table: of a network or a pipeline, the types alone."""
    if isinstance(value, Mapping) and 'data_preprocessor' in value:
        return str(value['type'])
    if isinstance(value, list):
        return ', '.join(str(step['type']) for step in value)
    return ' '.join(code(value).split())
