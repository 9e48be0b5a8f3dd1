"""Sampler of one mini-batch per source and training step."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from torch.utils.data import Sampler

from xlearner_mm.datasets.multi_source_dataset import MultiSourceDataset
from xlearner_mm.datasets.stream_index import StreamIndex, stream_image
from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import DATA_SAMPLERS

_UNGUARDED = (
    'MultiSourceSampler: its dataloader is not of an XLearnerRunner. Non-finite losses, skipped images and differing '
    'sources of model and dataset go unnoticed; checkpoints are not written atomically, and loading one executes its '
    'content: train by xlearner_mm.XLearnerRunner.from_cfg(cfg)'
)


@DATA_SAMPLERS.register_module()
class MultiSourceSampler(Sampler):
    """Draw exact shares of every source for every step, as a *sampler* of a stock ``DataLoader``.

    Every source is an endless stream: one permutation per own epoch, seeded by (seed, source name, epoch), so that
    adding a source changes no other source's order. A step takes the next ``world_size * batch_size`` images of each
    stream, and each rank its own slice of them: two ranks draw the images of one rank with twice the batch size. The
    indices of a step are a pure function of its number, so resuming reads no skipped image. The dataset refuses batches
    that are not steps.

        step k, source s, rank r of W:  stream_s[(k W + r) b_s : (k W + r + 1) b_s]

    Args:
        dataset: the :class:`MultiSourceDataset` to draw from.
        seed: the seed of all streams; None draws one and shares it between the ranks.
        steps_per_epoch: end an epoch after that many steps, for epoch-based loops. Defaults to None: endless.

    Attributes:
        guarded: whether an :class:`~xlearner_mm.engine.runner.XLearnerRunner` draws from it; warns once otherwise.
        assumed_length: steps of the longest source's epoch, while the sources are unread. Defaults to None.
    """

    def __init__(
        self, dataset: MultiSourceDataset, seed: int | None = None, steps_per_epoch: int | None = None
    ) -> None:
        if not isinstance(dataset, MultiSourceDataset):
            raise ConfigError(f'MultiSourceSampler needs a MultiSourceDataset, got {type(dataset).__name__}')
        self.dataset = dataset
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.batch_sizes = {name: source.batch_size for name, source in dataset.sources.items()}
        self.steps_per_epoch = steps_per_epoch
        self.guarded = False
        self.assumed_length: int | None = None
        self._step = 0
        dataset.images_per_step = self.batch_sizes

    @property
    def batch_size(self) -> int:
        """Images per step and process, all sources together: the DataLoader's ``batch_size``."""
        return sum(self.batch_sizes.values())

    def set_epoch(self, epoch: int) -> None:
        """Start at the first step of an epoch of ``steps_per_epoch`` steps."""
        if self.steps_per_epoch is not None:
            self._step = epoch * self.steps_per_epoch

    def skip(self, num_samples: int) -> None:
        """Advance by ``num_samples`` drawn indices without reading any, as MMEngine does on resume."""
        steps, rest = divmod(num_samples, self.batch_size)
        if rest:
            raise ConfigError(
                f'cannot skip {num_samples} samples: not a whole number of steps of {self.batch_size}; '
                "train_dataloader.batch_size must be the sum of the sources' batch sizes"
            )
        self._step += steps

    def source_epochs(self, step: int) -> dict[str, float]:
        """Return the epochs of every source that all ranks together have seen before ``step``."""
        return {
            name: step * self.world_size * size / self.dataset.lengths[name] for name, size in self.batch_sizes.items()
        }

    def step_indices(self, step: int) -> list[int]:
        """Return this rank's dataset indices of one step, source by source."""
        indices: list[int] = []
        lengths, offsets = self.dataset.lengths, self.dataset.offsets
        for name, size in self.batch_sizes.items():
            start = (step * self.world_size + self.rank) * size
            for position in range(start, start + size):
                place = (self.seed, name, position)
                indices.append(StreamIndex(offsets[name] + stream_image(place, lengths[name]), place))
        return indices

    def __iter__(self) -> Iterator[int]:
        if not self.guarded:
            print_log(_UNGUARDED, 'current', logging.WARNING)
            self.guarded = True
        step = self._step
        # An epoch that is resumed midway keeps its end.
        stop = None if self.steps_per_epoch is None else (step // self.steps_per_epoch + 1) * self.steps_per_epoch
        while stop is None or step < stop:
            yield from self.step_indices(step)
            step += 1

    def __len__(self) -> int:
        """Indices per process and epoch; the longest source's epoch for an endless sampler."""
        steps = self.assumed_length if self.steps_per_epoch is None else self.steps_per_epoch
        if steps is not None:
            return steps * self.batch_size
        lengths = self.dataset.lengths
        steps = max(-(-lengths[name] // (size * self.world_size)) for name, size in self.batch_sizes.items())
        return steps * self.batch_size
