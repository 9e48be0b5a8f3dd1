"""Build a training without its data, and say what it will take."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from rich.console import Console

from xlearner_mm.analysis.dry_run.blueprint import build_blueprint
from xlearner_mm.analysis.dry_run.estimate import estimate
from xlearner_mm.analysis.dry_run.figures import Estimate, print_tables
from xlearner_mm.analysis.dry_run.source_cost import PIXELS
from xlearner_mm.config.options import load_config
from xlearner_mm.config.unknown_setting import explained, refuse_misspelt
from xlearner_mm.engine.launch import end_well, end_with
from xlearner_mm.engine.optim.wrapper import CpuAmpOptimWrapper
from xlearner_mm.engine.schedule import SETTING, is_scaled, keep_recipe
from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import OPTIM_WRAPPERS, names_a

_AMP_SETTINGS = ('dtype', 'loss_scale', 'use_fsdp')


def dry_run(
    config: str,
    options: Sequence[str] = (),
    amp: bool = False,
    world_size: int = 1,
    flops_per_second: float | None = None,
    utilization: float = 0.3,
    json_file: str | None = None,
) -> int:
    """Print what a training will take, and turn bad input into one clear line.

    Args:
        config: path of a text config.
        options: ``KEY=VALUE`` overrides of the config. Defaults to none.
        amp: automatic mixed precision. Defaults to False.
        world_size: number of GPUs. Defaults to 1.
        flops_per_second: of one GPU. Defaults to None: hours are not estimated.
        utilization: share of ``flops_per_second`` that a training gets. Defaults to 0.3.
        json_file: a file for the figures; its folder is made. Defaults to None.

    Returns:
        The exit status: 0, or 1 after bad input.
    """
    cfg = None
    try:
        _check(world_size, flops_per_second, utilization)
        # What libraries say of the files that they read is no part of the figures.
        with redirect_stdout(sys.stderr):
            cfg = load_config(config, None, options, 'none')
            refuse_misspelt(cfg)
            found = estimate_config(cfg, world_size, amp)
        print_tables(found, flops_per_second, utilization, Console(width=120))
        if json_file is not None:
            hours = None if flops_per_second is None else found.gpu_hours(flops_per_second, utilization)
            rate = {'flops_per_second': flops_per_second, 'utilization': utilization, 'gpu_hours': hours}
            Path(json_file).parent.mkdir(parents=True, exist_ok=True)
            with open(json_file, 'w') as file:
                json.dump({**found.as_dict(), **rate}, file, indent=2)
    except Exception as error:
        return end_with(explained(error, cfg))
    return end_well()


def estimate_config(cfg: Config, world_size: int = 1, amp: bool = False, pixels: int = PIXELS) -> Estimate:
    """Estimate the training of a config.

    Args:
        cfg: the config, changed in place.
        world_size: number of processes. Defaults to 1.
        amp: automatic mixed precision, also where the config has none. Defaults to False.
        pixels: the most that are run at once, see :func:`~xlearner_mm.analysis.dry_run.source_cost.source_cost`.

    Raises:
        ConfigError: what cannot be built or tried; one line that names it.
    """
    half = amp or names_a(cfg.get('optim_wrapper'), (AmpOptimWrapper, CpuAmpOptimWrapper), OPTIM_WRAPPERS)
    if half:
        # MMEngine's own refuses to be built without a GPU; the forward pass is tried in 16 bits on the CPU.
        cfg.optim_wrapper.type = 'OptimWrapper'
        for key in _AMP_SETTINGS:
            cfg.optim_wrapper.pop(key, None)
    if is_scaled(cfg.get('auto_scale_lr')):
        # One process stands for all.
        cfg.auto_scale_lr.base_batch_size /= world_size
    plan = keep_recipe(cfg, world_size)
    cfg.pop(SETTING, None)  # what builds the training here is one process
    with tempfile.TemporaryDirectory() as folder:
        blueprint = build_blueprint(cfg, folder)
        if plan is not None:
            blueprint.notes.append(plan.describe())
        return estimate(blueprint, world_size, folder, half, pixels)


def _check(world_size: int, flops_per_second: float | None, utilization: float) -> None:
    if world_size < 1:
        raise ConfigError(f'--world-size must be at least 1, got {world_size}')
    if flops_per_second is not None and flops_per_second <= 0:
        raise ConfigError(f'--flops-per-second must be above 0, got {flops_per_second}')
    if not 0 < utilization <= 1:
        raise ConfigError(f'--utilization must be above 0 and at most 1, got {utilization}')
