"""Normalization layers, recognized by what they are: not all derive from torch's, and SyncBN replaces them late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

STATISTICS = ('running_mean', 'running_var')
"""Names of the buffers that hold a norm's running statistics."""


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether a module normalizes by statistics over the batch in training.

    These are torch's ``BatchNorm*d`` and ``SyncBatchNorm``, and all modules with running statistics and a momentum, as
    mmcv's SyncBN (``MMSyncBN``); not norms over a single image or ``FrozenBatchNorm2d``.
    """
    if isinstance(module, _BatchNorm):
        return True
    return _has_statistics(module) and hasattr(module, 'momentum') and not isinstance(module, _InstanceNorm)


def uses_batch_statistics(module: nn.Module) -> bool:
    """Return whether a module is a batch norm that normalizes by its input: in training, or without running ones."""
    return is_batch_norm(module) and (module.training or getattr(module, 'running_mean', None) is None)


def any_batch_statistics(*networks: nn.Module) -> bool:
    """Return whether any norm of some networks normalizes by statistics of the batch, see above."""
    return any(uses_batch_statistics(module) for network in networks for module in network.modules())


def norms_to_inference(network: nn.Module) -> None:
    """Put every batch norm into eval mode."""
    for module in network.modules():
        if is_batch_norm(module):
            module.eval()


def apply_norm_eval(network: nn.Module) -> None:
    """Apply ``norm_eval=True`` of the backbones in a network also to batch norms that their own ``train`` misses."""
    for module in network.modules():
        if getattr(module, 'norm_eval', False):
            norms_to_inference(module)


def _has_statistics(module: nn.Module) -> bool:
    return all(name in module._buffers for name in STATISTICS)


class ModuleState:
    """Training modes and copies of the buffers of some modules, as they are now.

    Args:
        modules: the modules themselves; their children only where they are named too.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        named = list(modules)
        self._modes = [(module, module.training) for module in named]
        self._buffers = [(m, name, b.clone()) for m in named for name, b in m._buffers.items() if b is not None]

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the modules run with it.

        What they write into buffers goes into the copies: their own, and what autograd has saved of them, stay.
        """
        modes = [(module, module.training) for module, _ in self._modes]
        buffers = [(module, name, module._buffers[name]) for module, name, _ in self._buffers]
        _install(self._modes, self._buffers)
        try:
            yield
        finally:
            _install(modes, buffers)


def _install(modes: Iterable[tuple[nn.Module, bool]], buffers: Iterable[tuple[nn.Module, str, Tensor | None]]) -> None:
    for module, training in modes:
        module.training = training
    for module, name, buffer in buffers:
        module._buffers[name] = buffer
