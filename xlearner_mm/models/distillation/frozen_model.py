"""A model that teaches: with the weights of a checkpoint, frozen."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from xlearner_mm.checkpoint import State, load_strictly, read_checkpoint, resolve_checkpoint, sha256_of, state_dict_of
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.registry import MODELS

# X-Learner++'s hints belong to a learner's own training: what it then teaches needs neither them nor their teachers.
_TRAINING_ONLY = 'hints'
_PRECISIONS = (None, 'bfloat16', 'float16')


class FrozenModel:
    """A model with the weights of a checkpoint, in evaluation mode and without gradients.

    No ``nn.Module`` on purpose: what holds it neither trains nor saves it, nor hands it to an optimizer or to DDP. The
    holder calls :meth:`apply` from its own ``_apply``. A deep copy of the holder, as MMEngine's ``EMAHook`` makes,
    shares the model; only the first holder moves and converts it.

    Args:
        model: config of a registered model.
        checkpoint: its checkpoint, or the work directory whose last one is taken.
        what: what messages call it. Defaults to ``'teacher'``.
        autocast: ``'bfloat16'`` or ``'float16'``: run in that precision, whatever the training's own is. Defaults to
            None: in the training's.

    Attributes:
        module: the model.
        checkpoint: the file that was read.
        sha256: of that file.
        meta: what the checkpoint says of itself.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or not of this model.
        ConfigError: an unknown precision.
    """

    def __init__(
        self, model: Mapping[str, Any], checkpoint: str, what: str = 'teacher', autocast: str | None = None
    ) -> None:
        if autocast not in _PRECISIONS:
            raise ConfigError(f"{what}: unknown autocast '{autocast}', choose from {_PRECISIONS}")
        self.what, self.autocast = what, autocast
        self._is_copy = False
        settings = {key: value for key, value in model.items() if key != _TRAINING_ONLY}
        self.module: nn.Module = MODELS.build(without_library_defaults(settings))
        self._read(checkpoint)

    def _read(self, checkpoint: str) -> None:
        self.checkpoint = resolve_checkpoint(checkpoint)
        self.sha256 = sha256_of(self.checkpoint)
        content = read_checkpoint(self.checkpoint)
        self.meta: Mapping[str, Any] = content.get('meta') or {}
        state = state_dict_of(content)
        self._load({k: v for k, v in state.items() if not k.startswith(f'{_TRAINING_ONLY}.')})
        self.freeze()

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenModel:
        shared = copy.copy(self)
        shared._is_copy = True
        return shared

    def _load(self, state: State) -> None:
        load_strictly(self.module, state, f'{self.what} {self.checkpoint}')

    def freeze(self) -> None:
        """Evaluate and take no gradient from now on."""
        self.module.eval()  # not chained: some stock backbones' own returns nothing
        self.module.requires_grad_(False)

    def apply(self, fn: Any) -> None:
        """Move or convert the model's tensors along with its holder's."""
        if not self._is_copy:
            self.module._apply(fn)

    def precision(self, x: Tensor) -> AbstractContextManager:
        """The precision that the model runs in for images ``x``."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(x.device.type, dtype=getattr(torch, self.autocast))

    def in_precision_of(self, x: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Features as targets: where the model has a precision of its own, in that of the images."""
        return tuple(features) if self.autocast is None else tuple(feature.to(x.dtype) for feature in features)

    def described(self) -> dict[str, str]:
        """Return file and hash as plain data: what a checkpoint records of its teachers."""
        return {'checkpoint': self.checkpoint, 'sha256': self.sha256}

    def hold_to(self, recorded: Mapping[str, str]) -> None:
        """Be the one that a training began with, also where the config names another file by now.

        Args:
            recorded: :meth:`described` of the one that the training began with.

        Raises:
            CheckpointError: it is another one, and the recorded file is missing or has changed.
        """
        path, before = recorded['checkpoint'], recorded['sha256']
        if self.sha256 == before:
            return
        try:
            now = sha256_of(resolve_checkpoint(path))
        except CheckpointError:
            now = None
        if now != before:
            fate = 'is missing now' if now is None else 'has changed since'
            raise CheckpointError(
                f'the {self.what} {self.checkpoint} is not the one that this training began with: {path}, of SHA-256 '
                f'{before[:12]}..., {fate}; put it back, or start a new training'
            )
        print_log(f'{self.what}: {path}, with which this training began', logger='current')
        self._reread(path)

    def _reread(self, path: str) -> None:
        self._read(path)
