"""What a training will take, per rank and in all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop
from torch import Tensor, nn

from xlearner_mm.analysis.dry_run.blueprint import STOCK, Blueprint
from xlearner_mm.analysis.dry_run.figures import Estimate, SourceEstimate
from xlearner_mm.analysis.dry_run.source_cost import PIXELS, SourceCost, source_cost
from xlearner_mm.analysis.dry_run.source_data import SourceData
from xlearner_mm.engine.optim import like, wrappers_of
from xlearner_mm.engine.schedule import is_scaled
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.distillation.teachers import FrozenModel


def estimate(blueprint: Blueprint, world_size: int, folder: str, half: bool = False, pixels: int = PIXELS) -> Estimate:
    """Estimate a training.

    Args:
        blueprint: the training, built without data.
        world_size: number of processes.
        folder: where pictures that stand in are written.
        half: whether its forward pass is in 16 bits. Defaults to False.
        pixels: the most that are run at once, see :func:`source_cost`.

    Raises:
        ConfigError: a source's step fails; the message names the source.
    """
    runner = blueprint.runner
    steps = _steps(blueprint, world_size)
    sources = []
    for data in blueprint.sources.values():
        cost = _cost(blueprint, data, folder, half, pixels)
        sources.append(_source_estimate(data, cost, steps, world_size))
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


def _source_estimate(data: SourceData, cost: SourceCost, steps: int | None, world_size: int) -> SourceEstimate:
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
        saved_bytes=cost.cost.saved,
        extra_bytes=cost.cost.extra,
        tried=cost.tried,
    )


def static_memory(
    model: nn.Module, optim_wrapper: OptimWrapper, hooks: Iterable[Hook], world_size: int
) -> dict[str, int]:
    """Return bytes per process by what they are for.

    Args:
        model: the whole model.
        optim_wrapper: with its optimizer or optimizers; what they keep per parameter is tried on a small one.
        hooks: of the training; an EMA keeps a copy of the model.
        world_size: several processes have buckets for the gradients that they exchange.
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
    """Models that teach, which are no modules of the one that they teach."""
    for module in model.modules():
        for value in vars(module).values():
            for held in value.values() if isinstance(value, dict) else (value,):
                if isinstance(held, FrozenModel):
                    yield held


def _state_bytes(optimizer: torch.optim.Optimizer) -> float:
    trained = [p for group in optimizer.param_groups for p in group['params'] if p.requires_grad]
    return _bytes(trained) * state_per_byte(optimizer)


def state_per_byte(optimizer: torch.optim.Optimizer) -> float:
    """Return the bytes of state that an optimizer keeps for every byte of a parameter."""
    parameter = nn.Parameter(torch.ones(64, 64))
    parameter.grad = torch.ones_like(parameter)
    tried = like(optimizer, parameter)
    tried.step()
    kept = [value for value in tried.state[parameter].values() if isinstance(value, Tensor) and value.dim()]
    return _bytes(kept) / _bytes([parameter])


def _bytes(tensors: Iterable[Tensor]) -> int:
    # Two names may share their memory.
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())
