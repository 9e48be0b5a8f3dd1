"""What a transfer starts from: the backbone of any checkpoint that holds one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xlearner_mm.transfer.architecture import Architecture, architecture_of
from xlearner_mm.transfer.checkpoint import (
    CheckpointError,
    read_checkpoint,
    resolve_checkpoint,
    sha256_of,
    state_dict_of,
)
from xlearner_mm.transfer.checkpoint.published import PREFIXES
from xlearner_mm.transfer.stored_backbone import description_of

_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')


@dataclass(frozen=True)
class Start:
    """A backbone to transfer.

    Args:
        checkpoint: the file.
        sha256: of the file.
        prefix: where the backbone is in it; '' where its keys are bare.
        architecture: the ResNet that it is.
        parameters: number of its learnable values.
        meta: what the file says of it, as plain data; empty in files that are not ours.
    """

    checkpoint: str
    sha256: str
    prefix: str
    architecture: Architecture
    parameters: int
    meta: Mapping[str, Any]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of its levels."""
        return self.architecture.channels

    def backbone(self) -> dict[str, Any]:
        """Return the settings of an ``XLearnerResNet`` that loads it."""
        said = self.meta.get('backbone') or {}
        return {
            'type': 'XLearnerResNet',
            **self.architecture.settings(),
            'style': said.get('style', 'pytorch'),
            'init_cfg': {'type': 'Pretrained', 'checkpoint': self.checkpoint, 'prefix': self.prefix or None},
        }

    def normalisation(self) -> dict[str, list[float]]:
        """Return mean and standard deviation of its input; empty where the file does not say.

        Raises:
            CheckpointError: it reads images whose channels are in another order than RGB.
        """
        said = self.meta.get('normalisation')
        if not said:
            return {}
        mean, std, order = said
        if order != 'rgb':
            raise CheckpointError(f'{self.checkpoint}: its images are {order} (BGR), the transfer configs feed RGB')
        return {'mean': mean, 'std': std} if mean and std else {}


def read_start(checkpoint: str, branch: str | None = None) -> Start:
    """Find the plain ResNet in a checkpoint.

    Args:
        checkpoint: an export, a checkpoint of either stage, a published one, or a work directory whose last is taken.
        branch: for an expansion checkpoint, the branch to transfer. Defaults to None: its only one.

    Raises:
        CheckpointError: unreadable, no plain ResNet in it, or several branches and none named.
    """
    path = resolve_checkpoint(checkpoint)
    content = read_checkpoint(path)
    prefix, own = _find(state_dict_of(content), branch, path)
    return Start(
        checkpoint=path,
        sha256=sha256_of(path),
        prefix=prefix,
        architecture=architecture_of(own, f'checkpoint {path}'),
        parameters=count_parameters(own),
        meta=_described(description_of(content) or {}, branch),
    )


def count_parameters(state: Mapping[str, Tensor]) -> int:
    """Return the number of learnable values among a ResNet's own weights."""
    return sum(
        value.numel()
        for key, value in state.items()
        if key.split('.')[0] != 'fc' and not key.endswith(_STATISTICS)
    )  # fmt: skip


def _find(state: Mapping[str, Tensor], branch: str | None, path: str) -> tuple[str, dict[str, Tensor]]:
    branches = sorted({key.split('.')[2] for key in state if key.startswith('backbone.branches.')})
    if branches:
        prefix = f'backbone.branches.{_choose(branches, branch, path)}.backbone.'
        return prefix, _below(state, prefix)
    if branch is not None:
        raise CheckpointError(f"checkpoint {path} has no branches, '{branch}' is asked for")
    for prefix in ('student.', *PREFIXES, ''):
        if f'{prefix}layer1.0.conv1.weight' in state:
            return prefix, _below(state, prefix)
    raise CheckpointError(f'checkpoint {path} holds no ResNet where ours or published ones have theirs')


def _choose(branches: list[str], branch: str | None, path: str) -> str:
    if branch is None and len(branches) == 1:
        return branches[0]
    if branch not in branches:
        wanted = 'name one by --branch' if branch is None else f"it has no '{branch}'"
        raise CheckpointError(f'checkpoint {path} is of the expansion stage with branches {branches}: {wanted}')
    return branch


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _described(meta: Mapping[str, Any], branch: str | None) -> dict[str, Any]:
    """Return what a file of ours says of the backbone chosen."""
    backbone = meta.get('backbone')
    if not isinstance(backbone, Mapping):
        return {}
    branches = backbone.get('branches')
    if isinstance(branches, Mapping):
        backbone = branches[branch] if branch else next(iter(branches.values()))
    return {'backbone': dict(backbone), 'normalisation': meta.get('normalisation')}
