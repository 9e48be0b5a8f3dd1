"""What a stock network sees as "its" backbone: one task's view of the shared expanded backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from mmengine.model import BaseModule
from torch import Tensor, nn

from xlearner_mm.registry import MODELS


class TaskFeatures(Protocol):
    """Anything that gives one task's features, such as the expanded backbone."""

    def forward_task(self, x: Tensor, task: str) -> Sequence[Tensor] | Mapping[int, Tensor]:
        """Return ``(B, C_i, H_i, W_i)`` by level for images ``(B, 3, H, W)``."""
        ...


@MODELS.register_module()
class TaskPort(BaseModule):
    """A backbone without parameters whose ``forward(x)`` is F^t of the shared expanded backbone.

    Args:
        task: the task t.
        out_indices: levels handed to the network's neck or head. Defaults to (0, 1, 2, 3).
    """

    def __init__(self, task: str, out_indices: Sequence[int] = (0, 1, 2, 3)) -> None:
        super().__init__()
        self.task = task
        self.out_indices = tuple(out_indices)
        # A list hides the module from nn.Module: its parameters belong to the learner, once.
        self._features: list[TaskFeatures] = []
        self._served: tuple[Tensor, tuple[Tensor, ...]] | None = None

    def bind(self, features: TaskFeatures) -> None:
        """Read from these features from now on."""
        self._features = [features]

    @contextmanager
    def serving(self, x: Tensor, levels: tuple[Tensor, ...]) -> Iterator[None]:
        """Answer ``forward(x)`` with features that were computed already, in one pass with other sources' images.

        Args:
            x: this source's images ``(B, 3, H, W)``; any other input is computed as ever.
            levels: F^t of them, all levels.
        """
        self._served = (x, levels)
        try:
            yield
        finally:
            self._served = None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the task's features of ``out_indices`` for images ``(B, 3, H, W)``.

        Raises:
            RuntimeError: the port was never bound.
        """
        if not self._features:
            raise RuntimeError(
                f"the port of task '{self.task}' is not bound to an expanded backbone; networks with ports "
                'are built by ExpansionLearner'
            )
        if self._served is not None and self._served[0] is x:
            levels: Sequence[Tensor] | Mapping[int, Tensor] = self._served[1]
        else:
            levels = self._features[0].forward_task(x, self.task)
        return tuple(levels[i] for i in self.out_indices)


def port_of(network: nn.Module) -> TaskPort | None:
    """Return the port within a stock network, or None if it has none (or several)."""
    ports = [module for module in network.modules() if isinstance(module, TaskPort)]
    return ports[0] if len(ports) == 1 else None
