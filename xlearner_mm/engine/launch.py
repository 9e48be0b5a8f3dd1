"""From a config file and command-line options to a running MMEngine runner."""

from __future__ import annotations

import ast
import os
import os.path as osp
import sys
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from xlearner_mm.datasets.source import SourceError
from xlearner_mm.engine.hooks.final_validation_hook import FinalValidationHook
from xlearner_mm.transfer.checkpoint import (
    CheckpointError,
    load_strictly,
    read_checkpoint,
    resolve_checkpoint,
    state_dict_of,
)


def launch(
    job: str,
    config: str,
    work_dir: str | None = None,
    options: Sequence[str] = (),
    launcher: str = 'none',
    resume: str | None = None,
    amp: bool = False,
    checkpoint: str | None = None,
) -> int:
    """Run a training or a test, and turn bad input into one clear line.

    Args:
        job: ``'train'`` or ``'test'``.
        config: path of a text config.
        work_dir: where logs and checkpoints go. Defaults to None: ``work_dirs/<config name>``.
        options: ``KEY=VALUE`` overrides of the config. Defaults to none.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``. Defaults to ``'none'``.
        resume: a checkpoint to resume from, or ``'auto'`` for the work dir's latest. Defaults to None.
        amp: automatic mixed precision. Defaults to False.
        checkpoint: the checkpoint to test.

    Returns:
        The exit status: 0, or 1 after bad input.
    """
    try:
        cfg = load_config(config, work_dir, options, launcher)
        if job == 'train':
            _prepare_training(cfg, resume, amp)
        runner = _build_runner(cfg)
        if job == 'train':
            runner.register_hook(FinalValidationHook())
            runner.train()
        else:
            _load_for_test(runner, checkpoint)
            runner.test()
    except (SourceError, CheckpointError, FileNotFoundError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def load_config(config: str, work_dir: str | None, options: Sequence[str], launcher: str) -> Config:
    """Read a config file and apply what the command line says.

    Raises:
        FileNotFoundError: no such config.
        ValueError: an option that is not ``KEY=VALUE``.
    """
    if not osp.isfile(config):
        raise FileNotFoundError(f'config {config} does not exist')
    parsed = Config.fromfile(config)
    # Every component holds the sources it needs: formatting that with yapf, thrice a run, takes 20 s. fromfile has
    # a switch for it, which text configs ignore.
    cfg = Config(parsed.to_dict(), cfg_text=parsed.text, filename=parsed.filename, format_python_code=False)
    cfg.merge_from_dict(dict(_parse_option(option) for option in options))
    cfg.launcher = launcher
    if launcher != 'none' and not torch.cuda.is_available():
        cfg.env_cfg.setdefault('dist_cfg', {})['backend'] = 'gloo'
    name = osp.splitext(osp.basename(config))[0]
    cfg.work_dir = work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    return cfg


def _parse_option(option: str) -> tuple[str, Any]:
    key, equals, text = option.partition('=')
    if not equals:
        raise ValueError(f"option '{option}' must be KEY=VALUE")
    try:
        return key, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return key, text


def _prepare_training(cfg: Config, resume: str | None, amp: bool) -> None:
    if amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
        if not torch.cuda.is_available():
            # float16 has no CPU kernels for much of this; bfloat16 does.
            cfg.optim_wrapper.setdefault('dtype', 'bfloat16')
    if resume == 'auto':
        cfg.resume, cfg.load_from = True, None
        if not osp.isfile(osp.join(cfg.work_dir, 'last_checkpoint')):
            print_log(f'nothing to resume in {cfg.work_dir}: training starts from the beginning', 'current')
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resolve_checkpoint(resume)
    os.makedirs(cfg.work_dir, exist_ok=True)


def _build_runner(cfg: Config) -> Runner:
    try:
        return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    except (ValueError, KeyError) as error:
        # What models refuse at build is bad input as well; later on such an error would be a fault of ours.
        raise SourceError(error.args[0] if error.args else error) from error


def _load_for_test(runner: Runner, checkpoint: str | None) -> None:
    if checkpoint is None:
        raise CheckpointError('a test needs a checkpoint')
    content = read_checkpoint(checkpoint)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    load_strictly(model, state_dict_of(content), f'checkpoint {checkpoint}')
