"""Refuse ranks that hold different data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.fingerprint import fingerprint
from xlearner_mm.datasets.integrity.guarded_reading import leaves
from xlearner_mm.datasets.shared_annotations import is_copy
from xlearner_mm.errors import SourceError
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
        # What this machine's reader holds is compared by itself.
        mine = {
            name: (len(source), None if is_copy(list(leaves(source))) else fingerprint(source))
            for name, source in own.items()
        }
        everyones: list[dict] = [{} for _ in range(get_world_size())]
        dist.all_gather_object(everyones, mine)
        for rank, theirs in enumerate(everyones):
            _compare(rank, theirs, everyones[0])


def _compare(
    rank: int, theirs: Mapping[str, tuple[int, str | None]], first: Mapping[str, tuple[int, str | None]]
) -> None:
    for name, here in first.items():
        there = theirs.get(name)
        if there is None or there[0] != here[0] or there[1] not in (None, here[1]):
            found = 'nothing' if there is None else f'{there[0]} images ({there[1]})'
            raise SourceError(
                f"source '{name}': rank {rank} holds {found}, but rank 0 holds {here[0]} images ({here[1]}): copy the "
                'same files and annotations to every machine'
            )
