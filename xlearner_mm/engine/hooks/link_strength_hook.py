"""Strength of the links."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from xlearner_mm.engine.hooks.logged_step import logging_interval
from xlearner_mm.models.expansion.expanded_backbone import expanded_backbone_of
from xlearner_mm.models.expansion.reconciliation import LinkKey
from xlearner_mm.models.norms import Batch, parts_of
from xlearner_mm.registry import HOOKS

LINKS_KEY = 'xlearner_links'


@HOOKS.register_module()
class LinkStrengthHook(Hook):
    """Log the strength of every link, and record the last ones in every checkpoint.

        strength of gamma_{j->i}^{k->t} = mean |gamma(E_j^k)| / mean |E_j^k|        on images of t's own sources

    It is logged as ``link/<k><j>_to_<t><i>``; checkpoints have it under ``meta['xlearner_links']`` as plain data for
    ``tools/visualize_links.py``. Steps that are not measured cost nothing. Without links it does nothing.

    Args:
        interval: steps between measurements; the last step is measured too. Defaults to None: logged steps.
        per_link: log every link or, for many branches, the mean of each pair (``link/<k>_to_<t>``). Defaults to True.
    """

    def __init__(self, interval: int | None = None, per_link: bool = True) -> None:
        self.interval, self.per_link = interval, per_link
        self._handles: list[RemovableHandle] = []
        self._seen: dict[LinkKey, list[Tensor]] = {}
        self._last: dict[str, Any] | None = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Register forward hooks in steps that are measured."""
        backbone = expanded_backbone_of(runner.model)
        interval = logging_interval(runner) if self.interval is None else self.interval
        if backbone is None or not (self.every_n_train_iters(runner, interval) or self.is_last_train_iter(runner)):
            return
        self._seen = {key: [] for key in backbone.link_keys}
        for key, seen in self._seen.items():
            self._handles.append(backbone.links[key.module_name].register_forward_hook(_watcher(seen)))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Log the strengths, with one transfer from the device for all links."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        measured = {key: torch.stack(seen).mean() for key, seen in self._seen.items() if seen}
        self._seen = {}
        if not measured:
            return
        strengths = dict(zip(measured, torch.stack(list(measured.values())).tolist(), strict=True))
        self._last = {'step': runner.iter + 1, 'links': [[*key, value] for key, value in strengths.items()]}
        logged: dict[str, list[float]] = {}
        for key, value in strengths.items():
            sender, receiver = (f'{key.sender}{key.sender_level}', f'{key.receiver}{key.receiver_level}')
            name = f'{sender}_to_{receiver}' if self.per_link else f'{key.sender}_to_{key.receiver}'
            logged.setdefault(name, []).append(value)
        for name, values in logged.items():
            runner.message_hub.update_scalar(f'train/link/{name}', sum(values) / len(values))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Record the strengths that were measured last."""
        if self._last is not None:
            checkpoint['meta'][LINKS_KEY] = self._last

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore the strengths."""
        self._last = checkpoint.get('meta', {}).get(LINKS_KEY)


def _watcher(seen: list[Tensor]) -> Any:
    def watch(link: nn.Module, inputs: tuple[Batch, ...], output: Batch) -> None:
        # A link trains on images of its receiver's own sources; others pass through it in eval mode.
        if link.training:
            for sent, received in zip(parts_of(inputs[0]), parts_of(output), strict=True):
                size = sent.detach().float().abs().mean().clamp_min(1e-12)
                seen.append(received.detach().float().abs().mean() / size)

    return watch
