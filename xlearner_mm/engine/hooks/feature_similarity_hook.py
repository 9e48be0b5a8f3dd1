"""Similarity of the student's features and its teachers'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from xlearner_mm.engine.hooks.logged_step import logging_interval
from xlearner_mm.errors import ConfigError
from xlearner_mm.evaluation.similarity import LinearCKA, positions, side_by_side
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import HOOKS
from xlearner_mm.spread import spread

PREFIX = 'similarity/'
_LOGGED = f'train/{PREFIX}'
_TIMES = 50  # default number of measurements in a training


@HOOKS.register_module()
class FeatureSimilarityHook(Hook):
    """Log the linear CKA of the student and every branch, or further teacher, at every distilled level.

        similarity/<t>_<i> = CKA(F_i^t, Fhat_i)                over positions of validation images of all sources

    It measures the student's own features, without guidance layers, on images spread evenly over each source's
    validation set. Only the main process measures, in eval mode and without effect on the training. In the expansion
    stage it does nothing.

    Args:
        interval: steps between measurements, rounded up to logged steps. Defaults to None: about 50 measurements.
        images: images of every source. Defaults to 16.
        grid: most positions along a side of a feature map, see :func:`~xlearner_mm.evaluation.similarity.positions`.
            Defaults to 8.

    Raises:
        ConfigError: before training, without validation images.
    """

    def __init__(self, interval: int | None = None, images: int = 16, grid: int = 8) -> None:
        self.interval, self.images, self.grid = interval, images, grid

    def before_train(self, runner: Runner) -> None:
        """Check that there are validation images."""
        if isinstance(unwrapped(runner.model), FitNetDistiller) and not _loaders_of(runner):
            raise ConfigError(
                'FeatureSimilarityHook needs validation images: give the config a MultiSourceValLoop and the sources a '
                'val_dataloader, or remove the hook'
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Remove logged values, those before an interruption too: the logger would repeat them in its next line."""
        scalars = runner.message_hub.log_scalars
        for name in [name for name in scalars if name.startswith(_LOGGED)]:
            del scalars[name]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Measure and log."""
        distiller = unwrapped(runner.model)
        if isinstance(distiller, FitNetDistiller) and is_main_process() and self._is_measured(runner):
            for name, value in self.measure(distiller, _loaders_of(runner)).items():
                runner.message_hub.update_scalar(f'{_LOGGED}{name}', value)

    def _is_measured(self, runner: Runner) -> bool:
        logged = logging_interval(runner)
        interval = runner.max_iters // _TIMES if self.interval is None else self.interval
        return logged > 0 and self.every_n_train_iters(runner, max(1, -(-interval // logged)) * logged)

    def measure(self, distiller: FitNetDistiller, loaders: dict[str, DataLoader]) -> dict[str, float]:
        """Return the CKA by ``<teacher>_<level>``.

        Args:
            distiller: the model of the squeeze stage.
            loaders: source -> its validation loader.
        """
        similarities: dict[str, LinearCKA] = {}
        for images in self._images(distiller, loaders):
            seen = side_by_side(distiller, images)
            for teacher, levels in seen.teachers.items():
                for level, feature in levels.items():
                    pair = positions(feature, seen.student[level], grid=self.grid)
                    similarities.setdefault(f'{teacher}_{level}', LinearCKA()).update(*pair)
        return {name: similarity.compute() for name, similarity in similarities.items()}

    def _images(self, distiller: FitNetDistiller, loaders: dict[str, DataLoader]) -> Iterator[Tensor]:
        """Yield batches ``(B, 3, H, W)`` of every source, at most as large as its validation batches."""
        for source, loader in loaders.items():
            indices = spread(len(loader.dataset), self.images)  # type: ignore[arg-type]
            size = loader.batch_size or 1
            for start in range(0, len(indices), size):
                batch = loader.collate_fn([loader.dataset[i] for i in indices[start : start + size]])
                yield distiller.data_preprocessor({source: batch}, False)['inputs'][source]


def _loaders_of(runner: Runner) -> dict[str, DataLoader]:
    return getattr(runner.val_loop, 'dataloaders', {})
