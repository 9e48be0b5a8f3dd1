"""Refuse ranks that hold different data."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.datasets import MultiSourceDataset, SourceError
from xlearner_mm.datasets.fingerprint import fingerprint
from xlearner_mm.registry import HOOKS


@HOOKS.register_module()
class SameDataHook(Hook):
    """Compare every source's list of images and annotations over all ranks before the first step.

    The ranks take slices of one permutation of a source: were their lists different, images would be seen twice or
    never, and nobody would know.

    Raises:
        SourceError: on every rank; names the source and the ranks.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare once; a single process has nothing to compare with."""
        if get_world_size() == 1:
            return
        dataset = runner.train_dataloader.dataset
        own: dict[str, Any] = {'train_dataloader': dataset}
        if isinstance(dataset, MultiSourceDataset):
            own = dict(dataset.datasets)
        mine = {name: (len(source), fingerprint(source)) for name, source in own.items()}
        everyones: list[dict] = [{} for _ in range(get_world_size())]
        dist.all_gather_object(everyones, mine)
        for rank, theirs in enumerate(everyones):
            _compare(rank, theirs, everyones[0])


def _compare(rank: int, theirs: dict[str, tuple[int, str]], first: dict[str, tuple[int, str]]) -> None:
    for name in first:
        if theirs.get(name) != first[name]:
            here, there = first[name], theirs.get(name)
            found = 'nothing' if there is None else f'{there[0]} images ({there[1]})'
            raise SourceError(
                f"source '{name}': rank {rank} holds {found}, but rank 0 holds {here[0]} images ({here[1]}): copy the "
                'same files and annotations to every machine'
            )
