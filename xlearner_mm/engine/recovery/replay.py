"""Make one saved training step again and see where it goes wrong."""

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
from xlearner_mm.config.shared_sources import with_sources
from xlearner_mm.engine.hooks.step_seed_hook import seed_step
from xlearner_mm.engine.recovery.step_record import read_step
from xlearner_mm.models.ragged import parts_of
from xlearner_mm.registry import MODELS


@dataclass(frozen=True)
class Replay:
    """A step made again.

    Args:
        losses: name -> value now.
        saved: name -> value then.
        first: the module whose output was the first that is not finite, or None.
    """

    losses: dict[str, float]
    saved: dict[str, float]
    first: str | None

    def lines(self) -> Iterator[str]:
        """Say it."""
        for name, value in self.losses.items():
            then = self.saved.get(name, math.nan)
            same = value == then or (math.isnan(value) and math.isnan(then))
            yield f'{name}: {value}' + ('' if same else f' (then: {then})')
        if self.first is None:
            yield 'every module gives finite numbers; if a loss does not, it is within the loss itself'
        else:
            yield f'the first module whose output is not finite: {self.first}'


def replay_step(config: str, path: str, options: tuple[str, ...] = ()) -> Replay:
    """Make a step again on this machine's CPU, from its weights, images and seed.

    Args:
        config: the config of the training.
        path: what :class:`~xlearner_mm.engine.hooks.finite_loss_hook.FiniteLossHook` has saved.
        options: ``KEY=VALUE`` overrides of the config. Defaults to none.

    Raises:
        CheckpointError: no saved step, or one of another model.
    """
    cfg = load_config(config, None, options, 'none')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    step = read_step(path)
    model: Any = MODELS.build(with_sources(cfg)['model'])
    load_strictly(model, step['state_dict'], f'step {path}')
    return replay_on(model, step)


def replay_on(model: Any, step: dict[str, Any]) -> Replay:
    """Make a step again on a model that has its weights.

    Args:
        model: the training's model.
        step: what :func:`~xlearner_mm.engine.recovery.step_record.read_step` gives.
    """
    model.train()
    seed_step(**step['place'])
    found: list[str] = []
    with _watched(model, found):
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
