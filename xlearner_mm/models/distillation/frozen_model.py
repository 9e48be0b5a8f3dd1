"""A model that teaches: with the weights of a checkpoint, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from xlearner_mm.registry import MODELS
from xlearner_mm.transfer.checkpoint import (
    State,
    load_strictly,
    read_checkpoint,
    resolve_checkpoint,
    sha256_of,
    state_dict_of,
)

# X-Learner++'s hints belong to a learner's own training: what it then teaches needs neither them nor their teachers.
_TRAINING_ONLY = 'hints'


class FrozenModel:
    """A model with the weights of a checkpoint, in evaluation mode and without gradients.

    No ``nn.Module`` on purpose: what holds it neither trains nor saves it, nor hands it to an optimizer or to DDP. The
    holder calls :meth:`apply` from its own ``_apply``.

    Args:
        model: config of a registered model.
        checkpoint: its checkpoint, or the work directory whose last one is taken.
        what: what messages call it. Defaults to ``'teacher'``.

    Attributes:
        module: the model.
        checkpoint: the file that was read.
        sha256: of that file.
        meta: what the checkpoint says of itself.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or not of this model.
    """

    def __init__(self, model: Mapping[str, Any], checkpoint: str, what: str = 'teacher') -> None:
        self.checkpoint = resolve_checkpoint(checkpoint)
        self.sha256 = sha256_of(self.checkpoint)
        content = read_checkpoint(self.checkpoint)
        self.meta: Mapping[str, Any] = content.get('meta') or {}
        self.module: nn.Module = MODELS.build({key: value for key, value in model.items() if key != _TRAINING_ONLY})
        state = state_dict_of(content)
        self._load({k: v for k, v in state.items() if not k.startswith(f'{_TRAINING_ONLY}.')}, what)
        self.freeze()

    def _load(self, state: State, what: str) -> None:
        load_strictly(self.module, state, f'{what} {self.checkpoint}')

    def freeze(self) -> None:
        """Evaluate and take no gradient from now on."""
        self.module.eval().requires_grad_(False)

    def apply(self, fn: Any) -> None:
        """Move or convert the model's tensors along with its holder's."""
        self.module._apply(fn)
