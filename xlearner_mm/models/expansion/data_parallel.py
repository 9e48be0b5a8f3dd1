"""An expansion on several processes: gradients averaged branch by branch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.expansion.expansion_learner import ExpansionLearner
from xlearner_mm.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class BranchDataParallel(nn.Module):
    """The counterpart of DDP for :class:`ExpansionLearner` with ``backward='branch'``.

    DDP expects every parameter in every backward pass that it averages. Here a branch's gradients are averaged once its
    backward pass has ended, in buckets, while the next branch runs; those of the last branch before the update, so that
    no process updates its weights when another one stops. With accumulated gradients, only before updates.
    ``XLearnerRunner`` takes this wrapper unless ``model_wrapper_cfg`` names another.

    Args:
        module: the learner. Parameters and buffers of the first process are sent to all.
        bucket_cap_mb: size of a bucket in MiB. Defaults to 25.0, as of DDP.

    Raises:
        ConfigError: a model that does not run its backward pass by branch.
    """

    def __init__(self, module: ExpansionLearner, bucket_cap_mb: float = 25.0) -> None:
        super().__init__()
        if getattr(module, 'backward', None) != 'branch':
            raise ConfigError(
                f"model_wrapper_cfg: BranchDataParallel needs an ExpansionLearner with backward='branch', got "
                f"{type(module).__name__}: take type='MMDistributedDataParallel'"
            )
        self.module = module
        self._bucket_bytes = bucket_cap_mb * 2**20
        branches = list(module.backbone.branches)
        # What several branches hold is complete after the last of them; what none holds, after all.
        last = {
            id(parameter): branch
            for branch in branches
            for part in module.parts_of(branch).values()
            for parameter in part.parameters()
        }
        self._parameters_of: dict[str, list[nn.Parameter]] = {branch: [] for branch in branches}
        for parameter in module.parameters():
            self._parameters_of[last.get(id(parameter), branches[-1])].append(parameter)
        self._last = branches[-1]
        self._under_way: list[tuple[Any, Tensor, list[nn.Parameter]]] = []
        for tensor in chain(module.parameters(), module.buffers()):
            dist.broadcast(tensor.detach(), 0)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the learner's forward pass."""
        return self.module(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Run the learner's training step, with averaged gradients if it ends in an update."""
        for message, *_ in self._under_way:  # of a step that was skipped
            message.wait()
        self._under_way.clear()
        return self.module.train_step(data, optim_wrapper, self if optim_wrapper.should_sync() else None)

    def val_step(self, data: Any) -> list:
        """Predict for validation."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> list:
        """Predict for a test."""
        return self.module.test_step(data)

    def reduce(self, branch: str) -> None:
        """Begin to average a branch's gradients; those of the last one wait for :meth:`finish`."""
        if branch != self._last:
            self._send(branch)

    def finish(self) -> None:
        """Average the last branch's gradients too, and write all of them."""
        self._send(self._last)
        for message, bucket, parameters in self._under_way:
            message.wait()
            *gradients, present = bucket.split([*(p.numel() for p in parameters), len(parameters)])
            for i, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                if parameter.grad is not None:
                    parameter.grad.copy_(gradient.view_as(parameter))
                elif present[i] > 0:  # other processes have one; if none has, the optimizer leaves it out
                    parameter.grad = gradient.view_as(parameter).clone()
        self._under_way.clear()

    @torch.no_grad()
    def _send(self, branch: str) -> None:
        for parameters in self._buckets([p for p in self._parameters_of[branch] if p.requires_grad]):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            present = gradients[0].new_tensor([p.grad is not None for p in parameters])
            bucket = torch.cat([*(gradient.reshape(-1) for gradient in gradients), present])
            bucket /= dist.get_world_size()  # before the sum, as in DDP: 16 bits may overflow
            self._under_way.append((dist.all_reduce(bucket, async_op=True), bucket, parameters))

    def _buckets(self, parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
        bucket: list[nn.Parameter] = []
        size = 0
        for parameter in parameters:
            full = size + parameter.nbytes > self._bucket_bytes
            if bucket and (full or (parameter.dtype, parameter.device) != (bucket[0].dtype, bucket[0].device)):
                yield bucket
                bucket, size = [], 0
            bucket.append(parameter)
            size += parameter.nbytes
        if bucket:
            yield bucket
