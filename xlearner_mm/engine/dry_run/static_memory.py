"""Memory that a training holds whatever its batch is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from xlearner_mm.engine.optim import like, wrappers_of
from xlearner_mm.models.distillation import FrozenModel


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
