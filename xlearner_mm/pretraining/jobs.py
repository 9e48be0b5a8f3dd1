"""A pretraining as jobs: check, expansion, squeeze, export, pictures."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from xlearner_mm.errors import ConfigError
from xlearner_mm.pipeline import Job, JobRunner, Outcome, can_fork, training_job
from xlearner_mm.pipeline.job import config_files
from xlearner_mm.pipeline.progress import Progress
from xlearner_mm.pretraining.choices import Device
from xlearner_mm.pretraining.plan import MEASURE, Plan
from xlearner_mm.pretraining.stage_files import EXPANSION, SQUEEZE

TOOLS = Path(__file__).parents[1] / '.mim' / 'tools'
"""The command lines, where an installed package has them."""
BACKBONE = 'backbone.pth'
SHEET, FEATURES, CURVES = 'sources.png', 'features.png', 'squeeze.png'
_MEASURED = 20  # steps
_START = 15.0  # seconds of a training before its first step


def run_jobs(jobs: list[Job], out: Path, device: str) -> Outcome:
    """Run jobs one after another on a device, ``'cuda'`` or ``'cpu'``."""
    hidden = ('',) if device == 'cpu' else ()  # CUDA_VISIBLE_DEVICES
    return JobRunner(jobs, out, workers=1, fork=can_fork(), devices=hidden).run()


def pretraining_jobs(plan: Plan, out: Path) -> list[Job]:
    """Return the jobs of a plan in a folder."""
    expansion, last = out / f'{EXPANSION}.py', plan.stages[-1]
    sheet = out / SHEET
    jobs = [
        Job(
            'check',
            _command('check_sources.py', expansion, '--samples', '200', '--sheet', sheet),
            seconds=20,
            inputs=tuple(config_files(expansion)),
            outputs=(sheet,),
        )
    ]
    for stage in plan.stages:
        config, folder = out / f'{stage}.py', stage_folder(out, stage)
        jobs.append(
            training_job(
                stage, config, folder, None, (jobs[-1].name,), _START + plan.seconds[stage], TOOLS / 'train.py'
            )
        )
    folder = stage_folder(out, last)
    jobs.append(_drawing('export', 'export_backbone.py', last, folder, out / BACKBONE, 5))
    jobs.append(_drawing('features', 'visualize_features.py', last, folder, out / FEATURES, 15))
    if SQUEEZE in plan.stages:
        jobs.append(_drawing('curves', 'visualize_squeeze.py', last, folder, out / CURVES, 10))
    return jobs


def stage_folder(out: Path, stage: str) -> Path:
    """Return the work directory of a stage."""
    return out / 'stages' / stage


def measure_step(config: Path, device: Device) -> float:
    """Return the seconds of a step of a training, measured over some steps without the first.

    Args:
        config: of the training.
        device: that trains.

    Raises:
        ConfigError: the training fails.
        KeyboardInterrupt: an interruption.
    """
    out = config.parent / MEASURE
    shutil.rmtree(out, ignore_errors=True)
    # Without validation, nor a best checkpoint.
    without = ('val_cfg', 'val_dataloader', 'val_evaluator', 'default_hooks.checkpoint.save_best')
    options = {'train_cfg.max_iters': _MEASURED, **dict.fromkeys(without)}
    job = training_job(MEASURE, config, out / 'training', options, seconds=60, train=TOOLS / 'train.py')
    if run_jobs([job], out, device.kind).status:
        raise ConfigError(f'{config}: its first steps cannot be measured; their log: {out / "logs" / MEASURE}.log')
    found = Progress.read(out / 'training')
    assert found is not None, 'every training writes it'
    shutil.rmtree(out)
    return found.seconds / (found.step - found.first)


def _command(tool: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, str(TOOLS / tool), *map(str, arguments))


def _drawing(name: str, tool: str, stage: str, folder: Path, out: Path, seconds: float) -> Job:
    return Job(name, _command(tool, folder, '--out', out), (stage,), seconds, outputs=(out,))
