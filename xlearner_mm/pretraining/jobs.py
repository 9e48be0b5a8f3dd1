"""A pretraining as jobs: check, expansion, squeeze, export, pictures."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from xlearner_mm.checkpoint import sha256_of
from xlearner_mm.checkpoint.reading import pointed_checkpoint
from xlearner_mm.config.options import read_config, read_literally
from xlearner_mm.engine.hooks.run_record_hook import DOES_NOT_MATTER, read_starts
from xlearner_mm.engine.loops import ValidationTimingLoop
from xlearner_mm.errors import ConfigError
from xlearner_mm.pipeline import Job, JobRunner, Outcome, can_fork, training_job
from xlearner_mm.pipeline.job import config_files
from xlearner_mm.pipeline.progress import Progress
from xlearner_mm.pipeline.state import JobStates, Record
from xlearner_mm.pretraining.choices import Device
from xlearner_mm.pretraining.lengths import OTHER_JOBS, Speed
from xlearner_mm.pretraining.plan import Plan
from xlearner_mm.pretraining.planner import JOBS, MEASURE
from xlearner_mm.pretraining.stage_files import EXPANSION, SQUEEZE, STAGES
from xlearner_mm.report.results import read_results

TOOLS = Path(__file__).parents[1] / '.mim' / 'tools'
"""The command lines, where an installed package has them."""
BACKBONE = 'backbone.pth'
SHEET, FEATURES, CURVES = 'sources.png', 'features.png', 'squeeze.png'
_MEASURED = 20  # steps
_OF_A_START = (*DOES_NOT_MATTER, 'env_cfg')
"""Settings that may differ between two starts of the same training."""


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
            seconds=OTHER_JOBS['check'],
            inputs=tuple(config_files(expansion)),
            outputs=(sheet,),
        )
    ]
    for stage in plan.stages:
        config, folder = out / f'{stage}.py', stage_folder(out, stage)
        needs, seconds = (jobs[-1].name,), plan.seconds[stage]
        jobs.append(training_job(stage, config, folder, None, needs, seconds, TOOLS / 'train.py', plan.validation))
    folder = stage_folder(out, last)
    jobs.append(_drawing('export', 'export_backbone.py', last, folder, out / BACKBONE))
    jobs.append(_drawing('features', 'visualize_features.py', last, folder, out / FEATURES))
    if SQUEEZE in plan.stages:
        jobs.append(_drawing('curves', 'visualize_squeeze.py', last, folder, out / CURVES))
    return jobs


def stage_folder(out: Path, stage: str) -> Path:
    """Return the work directory of a stage."""
    return out / STAGES / stage


def adopt_trainings(jobs: Sequence[Job], out: Path) -> None:
    """Record stages that were trained by ``tools/train.py`` alone: as finished, or to be resumed.

    Args:
        jobs: of :func:`pretraining_jobs`.
        out: folder of the pretraining.

    Raises:
        ConfigError: a stage's folder holds a training of another config or teacher than it would get now.
    """
    states = JobStates(out / JOBS)
    recorded_at = states.path.stat().st_mtime if states.path.exists() else 0.0
    fingerprints: dict[str, str] = {}
    for job in jobs:
        fingerprints[job.name] = job.fingerprint(fingerprints[need] for need in job.needs)
        if job.folder is None or not _is_unrecorded(job.folder, states.records.get(job.name), recorded_at):
            continue
        if states.knows(job.name, fingerprints[job.name]):
            continue
        config = out / f'{job.name}.py'
        differs = _differences(job.folder, config)
        if not differs and job.name == SQUEEZE:
            finished = states.is_finished(EXPANSION, fingerprints[EXPANSION])
            differs = '' if finished and _has_teacher(job.folder, stage_folder(out, EXPANSION)) else 'teacher'
        if differs:
            raise ConfigError(
                f'{job.folder} holds a training that {states.path} does not know, with another {differs}: move the '
                f'folder away or delete it to start over, or give {config} what it was trained with'
            )
        last = pointed_checkpoint(str(job.folder)) or ''
        done = Path(last).is_file() and Path(last).name == f'iter_{read_config(str(config)).train_cfg.max_iters}.pth'
        states.adopt(job.name, fingerprints[job.name], done)
        print(f'{job.name}: {"as trained" if done else "continues the training"} in {job.folder}', flush=True)


def _is_unrecorded(folder: Path, record: Record | None, recorded_at: float) -> bool:
    """Return whether something else than the job has trained in its folder."""
    if record is None:
        return folder.is_dir() and any(folder.iterdir())
    saved = folder / 'last_checkpoint'
    return saved.exists() and saved.stat().st_mtime > recorded_at


def _differences(folder: Path, config: Path) -> str:
    """Return the settings in which a training differs from a config; empty without any."""
    written = folder / config.name  # by MMEngine
    trained = read_literally(written) if written.is_file() else {}
    wanted = {key: value for key, value in read_config(str(config)).items() if key not in _OF_A_START}
    return ', '.join(key for key in wanted if wanted[key] != trained.get(key))


def _has_teacher(student: Path, teacher: Path) -> bool:
    """Return whether a student was trained with the last checkpoint of its teacher."""
    starts, last = read_starts(student), pointed_checkpoint(str(teacher))
    return bool(starts and last) and starts[-1]['teachers']['teacher']['sha256'] == sha256_of(str(last))


def measure_speed(config: Path, images: Mapping[str, int], device: Device) -> Speed:
    """Return the speed of a training: of some steps without the first, and of validations of a few images.

    Args:
        config: of the training.
        images: source -> images for validation.
        device: that trains.

    Raises:
        ConfigError: the training fails.
        KeyboardInterrupt: an interruption.
    """
    out = config.parent / MEASURE
    shutil.rmtree(out, ignore_errors=True)
    steps = {'train_cfg.max_iters': _MEASURED, 'train_cfg.val_interval': _MEASURED}
    # The times have no best checkpoint.
    options = {**steps, 'val_cfg.type': ValidationTimingLoop.__name__, 'default_hooks.checkpoint.save_best': None}
    job = training_job(MEASURE, config, out / 'training', options, seconds=60, train=TOOLS / 'train.py')
    if run_jobs([job], out, device.kind).status:
        raise ConfigError(f'{config}: its first steps cannot be measured; their log: {out / "logs" / MEASURE}.log')
    found, times = Progress.read(out / 'training'), read_results(out / 'training').metrics()
    assert found is not None, 'every training writes it'
    shutil.rmtree(out)
    validation = sum(times[f'{name}/start'] + times[f'{name}/image'] * count for name, count in images.items())
    return Speed(found.seconds / (found.step - found.first), validation)


def _command(tool: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, str(TOOLS / tool), *map(str, arguments))


def _drawing(name: str, tool: str, stage: str, folder: Path, out: Path) -> Job:
    return Job(name, _command(tool, folder, '--out', out), (stage,), OTHER_JOBS[name], outputs=(out,))
