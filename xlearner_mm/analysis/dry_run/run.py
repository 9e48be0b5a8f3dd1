"""Dry run: estimate a training without its data."""

from __future__ import annotations

import gc
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import IterBasedTrainLoop
from rich.console import Console
from torch import Tensor, nn

from xlearner_mm.analysis.dry_run.blueprint import STOCK, Blueprint, build_blueprint
from xlearner_mm.analysis.dry_run.figures import Estimate, SourceEstimate, print_tables
from xlearner_mm.analysis.dry_run.source_cost import PIXELS, SourceCost, source_cost
from xlearner_mm.analysis.dry_run.source_data import SourceData
from xlearner_mm.config.options import load_config
from xlearner_mm.config.unknown_setting import explained, refuse_misspelled
from xlearner_mm.engine.launch import end_well, end_with
from xlearner_mm.engine.optim.loss_weights import like
from xlearner_mm.engine.optim.wrapper import CpuAmpOptimWrapper, wrappers_of
from xlearner_mm.engine.schedule import SETTING, is_scaled, keep_recipe
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.distillation.teachers import FrozenModel
from xlearner_mm.models.expansion import ExpansionLearner
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
    """Print the estimate of a training; bad input ends with one line.

    Args:
        config: path of a text config.
        options: ``KEY=VALUE`` overrides of the config. Defaults to none.
        amp: automatic mixed precision. Defaults to False.
        world_size: number of GPUs. Defaults to 1.
        flops_per_second: of one GPU. Defaults to None: hours are not estimated.
        utilization: share of ``flops_per_second`` that a training reaches. Defaults to 0.3.
        json_file: a file for the figures; its folder is created. Defaults to None.

    Returns:
        The exit status: 0, or 1 after bad input.
    """
    cfg = None
    try:
        _check(world_size, flops_per_second, utilization)
        # Libraries print while they read files.
        with redirect_stdout(sys.stderr):
            cfg = load_config(config, None, options, 'none')
            refuse_misspelled(cfg)
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
        pixels: most pixels run at once, see :func:`~xlearner_mm.analysis.dry_run.source_cost.source_cost`.

    Raises:
        ConfigError: something cannot be built or tried; names it.
    """
    half = amp or names_a(cfg.get('optim_wrapper'), (AmpOptimWrapper, CpuAmpOptimWrapper), OPTIM_WRAPPERS)
    if half:
        # MMEngine's needs a GPU; here the forward pass runs in 16 bits on the CPU.
        cfg.optim_wrapper.type = 'OptimWrapper'
        for key in _AMP_SETTINGS:
            cfg.optim_wrapper.pop(key, None)
    if is_scaled(cfg.get('auto_scale_lr')):
        # One process represents all.
        cfg.auto_scale_lr.base_batch_size /= world_size
    plan = keep_recipe(cfg, world_size)
    cfg.pop(SETTING, None)  # this is one process
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


def estimate(blueprint: Blueprint, world_size: int, folder: str, half: bool = False, pixels: int = PIXELS) -> Estimate:
    """Estimate a training.

    Args:
        blueprint: the training, built without data.
        world_size: number of processes.
        folder: for random pictures.
        half: run its forward pass in 16 bits. Defaults to False.
        pixels: most pixels run at once, see :func:`source_cost`.

    Raises:
        ConfigError: a source's step fails; the message names the source.
    """
    runner = blueprint.runner
    steps = _steps(blueprint, world_size)
    sources = []
    gc.freeze()  # collections between measurements take half a second each with all modules
    try:
        for data in blueprint.sources.values():
            cost = _cost(blueprint, data, folder, half, pixels)
            sources.append(_source_estimate(data, cost, _graph_of(runner.model, data.name), steps, world_size))
    finally:
        gc.unfreeze()
    parameters = list(runner.model.parameters())
    scale = runner.auto_scale_lr or {}
    return Estimate(
        model=type(runner.model).__name__,
        world_size=world_size,
        precision='16 bits where autocast has them' if half else '32 bits',
        steps=steps,
        learning_rates=blueprint.learning_rates,
        set_for=scale['base_batch_size'] * world_size if is_scaled(scale) else None,
        trained_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        frozen_parameters=sum(p.numel() for p in parameters if not p.requires_grad),
        memory=static_memory(runner.model, runner.optim_wrapper, runner.hooks, world_size),
        sources=sources,
        notes=blueprint.notes,
    )


def _steps(blueprint: Blueprint, world_size: int) -> int | None:
    loop = blueprint.runner.train_loop
    if STOCK not in blueprint.sources or isinstance(loop, IterBasedTrainLoop):
        return loop.max_iters
    data = blueprint.sources[STOCK]
    return None if data.images is None else loop.max_epochs * _per_epoch(data, world_size)


def _per_epoch(data: SourceData, world_size: int) -> int:
    assert data.images is not None
    return math.ceil(data.images / (data.batch_size * world_size))


def _cost(blueprint: Blueprint, data: SourceData, folder: str, half: bool, pixels: int) -> SourceCost:
    source = data.name if blueprint.has_sources else None
    try:
        items = data.items(folder)
        return source_cost(blueprint.runner.model, source, items, data.batch_size, half, pixels)
    except Exception as error:
        what = str(error) if isinstance(error, ConfigError) else f'{type(error).__name__}: {error}'
        owner = f"source '{source}'" if source else 'train_dataloader'
        raise ConfigError(f'{owner}: a training step cannot be tried: {what}') from error


def _graph_of(model: nn.Module, source: str) -> str:
    """Return the branch of a source whose backward pass is by branch; '' where there is one for all."""
    if not isinstance(model, ExpansionLearner) or model.backward == 'joint':
        return ''
    return model.backbone.branch_of(model.sources[source].task)


def _source_estimate(
    data: SourceData, cost: SourceCost, graph: str, steps: int | None, world_size: int
) -> SourceEstimate:
    known = data.images is not None
    epochs = None
    if data.images is not None and steps is not None:
        epochs = steps * world_size * data.batch_size / data.images
    return SourceEstimate(
        name=data.name,
        images_per_step=data.batch_size,
        images=data.images,
        images_from=data.origin,
        epochs=epochs,
        steps_per_epoch=_per_epoch(data, world_size) if known else None,
        batch_shape=cost.shape,
        pictures='its own' if data.picture is None else 'random, {} x {}'.format(*data.picture),
        flops_per_step=cost.cost.flops,
        graph=graph,
        image_bytes=cost.image_bytes,
        saved_bytes=cost.cost.saved,
        extra_bytes=cost.cost.extra,
        tried=cost.tried,
    )


def static_memory(
    model: nn.Module, optim_wrapper: OptimWrapper, hooks: Iterable[Hook], world_size: int
) -> dict[str, int]:
    """Return bytes per process by purpose.

    Args:
        model: the whole model.
        optim_wrapper: with its optimizers, whose state is measured on a small parameter.
        hooks: of the training; an EMA keeps a copy of the model.
        world_size: number of processes; several need buckets for exchanging gradients.
    """
    parameters, trained = list(model.parameters()), [p for p in model.parameters() if p.requires_grad]
    own = {'parameters': _bytes(parameters), 'buffers': _bytes(model.buffers())}
    teachers = (tensor for teacher in frozen_teachers(model) for tensor in teacher.module.state_dict().values())
    return {
        **own,
        'gradients': _bytes(trained),
        'optimizer': round(sum(_state_bytes(wrapper.optimizer) for wrapper in wrappers_of(optim_wrapper).values())),
        'gradient buckets': _bytes(trained) if world_size > 1 else 0,
        'frozen teachers': _bytes(teachers),
        'moving average': sum(own.values()) if any(isinstance(hook, EMAHook) for hook in hooks) else 0,
    }


def frozen_teachers(model: nn.Module) -> Iterator[FrozenModel]:
    """Yield the frozen teachers of a model, which are not among its modules."""
    for module in model.modules():
        for value in vars(module).values():
            for held in value.values() if isinstance(value, dict) else (value,):
                if isinstance(held, FrozenModel):
                    yield held


def _state_bytes(optimizer: torch.optim.Optimizer) -> float:
    trained = (p for group in optimizer.param_groups for p in group['params'] if p.requires_grad)
    return _bytes(trained) * state_per_byte(optimizer)


def state_per_byte(optimizer: torch.optim.Optimizer) -> float:
    """Return an optimizer's bytes of state per byte of a parameter."""
    parameter = nn.Parameter(torch.ones(64, 64))
    parameter.grad = torch.ones_like(parameter)
    tried = like(optimizer, parameter)
    tried.step()
    kept = [value for value in tried.state[parameter].values() if isinstance(value, Tensor) and value.dim()]
    return _bytes(kept) / _bytes([parameter])


def _bytes(tensors: Iterable[Tensor]) -> int:
    # Tensors may share memory.
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())
