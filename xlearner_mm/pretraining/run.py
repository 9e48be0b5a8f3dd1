"""The one call: from labeled folders to a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import torch

from xlearner_mm.engine.loggers import check_loggers, logging_to
from xlearner_mm.errors import ConfigError
from xlearner_mm.layouts.layout import shown
from xlearner_mm.pipeline import can_fork
from xlearner_mm.pipeline.runner import INTERRUPTED
from xlearner_mm.pretraining.jobs import BACKBONE, adopt_trainings, measure_speed, pretraining_jobs, run_jobs
from xlearner_mm.pretraining.planner import open_plan
from xlearner_mm.pretraining.request import TASKS, Folders, Request, named_folders
from xlearner_mm.pretraining.result import write_result


class PretrainingError(ConfigError):
    """A pretraining with a failed job; the message names the job and its log."""


def pretrain(
    cls: Folders = None,
    det: Folders = None,
    seg: Folders = None,
    *,
    out: str | PathLike[str],
    plan: bool = False,
    budget: str | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    backbone: str | None = None,
    device: str | None = None,
    log: str | Sequence[str] = (),
) -> Path | None:
    """Pretrain a backbone on labeled folders: recognize them, write configs, and run both stages.

    The same call continues an interrupted one. Edits of the written configs are kept, and the trainings that read them
    start over. Of sources of one task, there is no squeeze: the backbone is the trained branch.

    Args:
        cls: folders of classification: source -> folder, or a list of folders or ``'NAME=FOLDER'``. Defaults to none.
        det: folders of detection. Defaults to none.
        seg: folders of segmentation. Defaults to none.
        out: folder for everything that is written.
        plan: print what was understood and chosen, write the configs, and stop. Defaults to False.
        budget: the time to take, such as ``'8h'``. Defaults to None.
        epochs: of the source that needs most steps for one, in the expansion. Defaults to None: by the device.
        steps: of the expansion, for trials. Defaults to None.
        seed: of splits and trainings. Defaults to 0.
        workers: processes that load images. Defaults to None: by the cores.
        backbone: ``'resnet50'``, ``'resnet18'``, ...; ``'resnet18-w16'`` is of base width 16. Defaults to None: by
            device and data.
        device: ``'cuda'`` or ``'cpu'``. Defaults to None: a GPU if there is one.
        log: trackers to log to, of ``'tensorboard'``, ``'mlflow'`` and ``'wandb'``. Defaults to none.

    Returns:
        The file of the backbone; None with ``plan``.

    Raises:
        ConfigError: impossible settings, or ``out`` holds another pretraining.
        SourceError: a folder that cannot be recognized.
        PretrainingError: a job failed.
        KeyboardInterrupt: an interruption.
    """
    folders = {task: named_folders(given) for task, given in zip(TASKS, (cls, det, seg), strict=True)}
    request = Request(
        {task: named for task, named in folders.items() if named},
        budget,
        epochs,
        steps,
        seed,
        workers,
        backbone,
        device,
    )
    out, trackers = Path(out).expanduser().absolute(), [log] if isinstance(log, str) else log
    check_loggers(trackers)  # before the planning, which takes minutes
    threads = torch.get_num_threads()
    if can_fork():
        torch.set_num_threads(1)  # forks cannot use this process's thread pool
    try:
        return _pretrain(request, out, plan, trackers)
    finally:
        torch.set_num_threads(threads)


def _pretrain(request: Request, out: Path, plan: bool, trackers: Sequence[str]) -> Path | None:
    made = open_plan(request, out, measure_speed)
    made.show(out)
    print(f'configs: {", ".join(str(shown(out) / file) for file in made.written)}', flush=True)
    if plan:
        return None
    jobs = pretraining_jobs(made, out)
    adopt_trainings(jobs, out)
    with logging_to(trackers):
        outcome = run_jobs(jobs, out, made.device)
    if outcome.status == INTERRUPTED:
        raise KeyboardInterrupt
    if outcome.failed:
        raise PretrainingError(
            f'{", ".join(outcome.failed)} failed: see {out / "logs" / outcome.failed[0]}.log, correct the cause, and '
            'repeat the command, which runs what is left'
        )
    write_result(made, out)
    return out / BACKBONE
