"""Run a training or a test from a config file and command-line options, and end it with one line and a status."""

from __future__ import annotations

import errno
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from xlearner_mm.checkpoint import load_strictly, read_checkpoint, resolve_checkpoint, state_dict_of
from xlearner_mm.config.options import load_config
from xlearner_mm.config.unknown_setting import explained
from xlearner_mm.engine.hooks.finite_loss_hook import NonFiniteLossError
from xlearner_mm.engine.loggers import add_loggers
from xlearner_mm.engine.recovery.rank_watch import DEFAULT_TIMEOUT, current_watch
from xlearner_mm.engine.recovery.stop_signal import TrainingStopped
from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.engine.schedule import SETTING
from xlearner_mm.errors import USER_ERRORS, CheckpointError, ConfigError, describe_error, message_line, print_error
from xlearner_mm.models.expansion.expanded_backbone import expanded_backbone_of
from xlearner_mm.models.expansion.links import narrow_as
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.photos import check_photos_of
from xlearner_mm.registry import RUNNERS, registered_name, type_of


def launch(
    job: str,
    config: str,
    work_dir: str | None = None,
    options: Sequence[str] = (),
    launcher: str = 'none',
    resume: str | None = None,
    amp: bool = False,
    checkpoint: str | None = None,
    log: Sequence[str] = (),
) -> int:
    """Run a training or a test; bad input ends in one line.

    Args:
        job: ``'train'`` or ``'test'``.
        config: path of a text config.
        work_dir: where logs and checkpoints go. Defaults to None: ``work_dirs/<config name>``.
        options: ``KEY=VALUE`` overrides of the config. Defaults to none.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``. Defaults to ``'none'``.
        resume: a checkpoint or work directory to resume from, or ``'auto'`` for the own work directory, if it has a
            checkpoint. Defaults to None.
        amp: automatic mixed precision. Defaults to False.
        checkpoint: the checkpoint to test.
        log: trackers to log to beside the config's, of :data:`~xlearner_mm.engine.loggers.LOGGERS`. Defaults to none.

    Returns:
        The exit status: 0; 1 after an error; 75 after a signal, when the training can be resumed.
    """
    cfg = None
    try:
        cfg = load_config(config, work_dir, options, launcher)
        add_loggers(cfg, log)
        check_photos_of(cfg)
        _run(job, cfg, resume, amp, checkpoint)
    except Exception as error:
        return end_with(explained(error, cfg))
    return end_well()


def _run(job: str, cfg: Config, resume: str | None, amp: bool, checkpoint: str | None) -> None:
    if job == 'train':
        _prepare_training(cfg, resume, amp)
    else:
        # The named checkpoint is tested, not the one that the config starts or resumes from.
        cfg.load_from, cfg.resume = None, False
        cfg[SETTING] = None  # any number of processes may test
    if cfg.launcher == 'pytorch' and not torch.cuda.is_available() and not torch.distributed.is_initialized():
        # MMEngine would require a GPU.
        seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', DEFAULT_TIMEOUT)
        torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=seconds))
    # Everything is built before the first step, so that bad input ends here.
    runner = build_runner(cfg)
    if job == 'train':
        build_optimizer(runner)
    for name in ('train', 'val') if job == 'train' else ('test',):
        dataset = (cfg.get(f'{name}_dataloader') or {}).get('dataset') or {}
        with _building(f'{name}_dataloader', f'dataset {dataset.get("type")}, data_root {dataset.get("data_root")!r}'):
            getattr(runner, f'{name}_loop')
    if job == 'train':
        runner.train()
    else:
        _load_for_test(runner, checkpoint)
        runner.test()


def _prepare_training(cfg: Config, resume: str | None, amp: bool) -> None:
    if amp:
        if torch.cuda.is_available():
            cfg.optim_wrapper.type = 'AmpOptimWrapper'
            cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
        else:
            cfg.optim_wrapper.type = 'CpuAmpOptimWrapper'
    if resume == 'auto':
        cfg.resume = resume
    elif resume is not None:
        # In a work directory, the runner finds the last readable checkpoint.
        cfg.resume, cfg.load_from = True, resume if os.path.isdir(resume) else resolve_checkpoint(resume)
    os.makedirs(cfg.work_dir, exist_ok=True)


def build_runner(cfg: Config) -> Runner:
    """Build the runner with its model and hooks.

    Raises:
        ConfigError: anything that cannot be built, a misspelled setting, or another runner.
        CheckpointError: a checkpoint that the model is built from.
    """
    name = cfg.get('runner_type', XLearnerRunner.__name__)
    kind = type_of({'type': name}, RUNNERS)
    if not inspect.isclass(kind) or not issubclass(kind, XLearnerRunner):
        raise ConfigError(
            f"runner_type '{registered_name(name)}' is no XLearnerRunner, and would execute code in checkpoints: "
            'remove runner_type, or derive your runner from XLearnerRunner'
        )
    return kind.from_cfg(cfg)


def build_optimizer(runner: Runner) -> None:
    """Build the runner's optimizer.

    Raises:
        ConfigError: it cannot be built.
    """
    with _building('optim_wrapper', f'it is {runner.cfg.optim_wrapper}'):
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)


@contextmanager
def _building(what: str, settings: str) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f'{what} cannot be built: {describe_error(error)} ({settings})') from error


def _load_for_test(runner: Runner, checkpoint: str | None) -> None:
    if checkpoint is None:
        raise CheckpointError('a test needs a checkpoint')
    content = read_checkpoint(checkpoint)
    model = unwrapped(runner.model)
    pruned = expanded_backbone_of(runner.model)
    if pruned is not None:
        narrow_as(pruned, content)
    load_strictly(model, state_dict_of(content), f'checkpoint {checkpoint}')


STOPPED = os.EX_TEMPFAIL
"""Exit status of a training that was interrupted by a signal and can be resumed: 75, "try again later"."""
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BROKEN_COLLECTIVE = ('gloo', 'NCCL', 'Connection', 'ProcessGroup')


def end_well() -> int:
    """End a successful run, all ranks together."""
    watch = current_watch()
    if watch is not None:
        watch.finish()
    return 0


def end_with(error: Exception) -> int:
    """End a failed run with one line, and notify the other ranks.

    Returns:
        The exit status: 1, or 75 after a signal.

    Raises:
        Exception: ``error`` itself, if it is not bad input and needs its traceback.
    """
    watch = current_watch()
    if isinstance(error, TrainingStopped):
        print(error, file=sys.stderr)
        end_well()
        return STOPPED
    if watch is not None:
        if isinstance(error, RuntimeError) and any(word in str(error) for word in _BROKEN_COLLECTIVE):
            # Another rank failed: the watch ends this process and names it.
            watch.wait_for_culprit()
        watch.fail(message_line(error))
    if not isinstance(error, (*USER_ERRORS, NonFiniteLossError)) and getattr(error, 'errno', None) not in _FULL_DISK:
        raise error
    of_rank = '' if watch is None else f'rank {watch.rank}: '
    return print_error(error, of_rank)
