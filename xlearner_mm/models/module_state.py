"""The state in which modules ran, to be run with again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


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
