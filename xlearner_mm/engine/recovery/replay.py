"""Replay of a saved training step, to locate its first non-finite output."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from xlearner_mm.checkpoint import load_strictly
from xlearner_mm.config.options import load_config
from xlearner_mm.engine.hooks.step_seed_hook import seed_step
from xlearner_mm.engine.recovery.step_record import read_step
from xlearner_mm.models.compilation import eagerly
from xlearner_mm.models.norms import parts_of
from xlearner_mm.registry import MODELS
from xlearner_mm.sources import with_sources


@dataclass(frozen=True)
class Replay:
    """The result of a replayed step.

    Args:
        losses: name -> value in the replay.
        saved: name -> value in the training.
        first: the first module with a non-finite output, or None.
    """

    losses: dict[str, float]
    saved: dict[str, float]
    first: str | None

    def lines(self) -> Iterator[str]:
        """Yield the report's lines."""
        for name, value in self.losses.items():
            then = self.saved.get(name, math.nan)
            same = value == then or (math.isnan(value) and math.isnan(then))
            yield f'{name}: {value}' + ('' if same else f' (then: {then})')
        if self.first is None:
            yield 'all module outputs are finite; a non-finite loss comes from the loss function itself'
        else:
            yield f'first module with a non-finite output: {self.first}'


def replay_step(config: str, path: str, options: tuple[str, ...] = ()) -> Replay:
    """Replay a step on the CPU, with its weights, images and seed.

    Args:
        config: the config of the training.
        path: the file that :class:`~xlearner_mm.engine.hooks.finite_loss_hook.FiniteLossHook` saved.
        options: ``KEY=VALUE`` overrides of the config. Defaults to none.

    Raises:
        CheckpointError: the file is not a saved step, or of another model.
    """
    cfg = load_config(config, None, options, 'none')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    step = read_step(path)
    model: Any = MODELS.build(with_sources(cfg)['model'])
    load_strictly(model, step['state_dict'], f'step {path}')
    return replay_on(model, step)


def replay_on(model: Any, step: dict[str, Any]) -> Replay:
    """Replay a step of :func:`~xlearner_mm.engine.recovery.step_record.read_step` on a model with its weights."""
    model.train()
    seed_step(**step['place'])
    found: list[str] = []
    with _watched(model, found), eagerly(model):  # compiled modules would not call the watchers within them
        data = model.data_preprocessor(step['batch'], True)
        losses = model(**data, mode='loss') if isinstance(data, dict) else model(*data, mode='loss')
    _, values = model.parse_losses(losses)
    return Replay({name: float(value) for name, value in values.items()}, step['losses'], next(iter(found), None))


@contextmanager
def _watched(model: nn.Module, found: list[str]) -> Iterator[None]:
    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs = (part for part in parts_of(output) if isinstance(part, Tensor) and part.is_floating_point())
            if not all(torch.isfinite(part).all() for part in outputs):
                found.append(name)

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
