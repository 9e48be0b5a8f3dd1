"""Images that a training skips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.multi_source_dataset import REPLACED
from xlearner_mm.engine.hooks.logged_step import is_logged_step
from xlearner_mm.registry import HOOKS

LIST = 'bad_images.txt'
"""List in the work directory: source, path and reason of every bad image, separated by tabs."""


@HOOKS.register_module()
class BadImageHook(Hook):
    """Log, count and list the images that sources with ``bad_data=dict(policy='skip')`` skip.

    Every bad image is a warning in the log and a line of ``<work_dir>/bad_images.txt``; their number is logged as
    ``bad_images/<source>``. Ranks exchange what they have found in logged steps.

    Raises:
        SourceError: a source has more bad images than its ``max_share``.
    """

    def __init__(self) -> None:
        self._bad: dict[str, dict[str, str]] = {}
        self._listed = 0

    def before_train(self, runner: Runner) -> None:
        """Start from the bad annotations, and from the bad images of the training that is resumed."""
        dataset = runner.train_dataloader.dataset
        if not isinstance(dataset, MultiSourceDataset):
            return
        self._dataset, earlier, self._bad = dataset, self._bad, {}
        for name, source in dataset.sources.items():
            if source.bad_data.skips:
                self._add(runner, name, {**dataset.bad_images[name], **earlier.get(name, {})}.items())
        self._write(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Collect the bad images that the batch's images replace."""
        if not self._bad:
            return
        for name in self._bad.keys() & data_batch.keys():
            for sample in data_batch[name].get('data_samples', ()):
                self._add(runner, name, getattr(sample, 'metainfo', {}).get(REPLACED, ()))
        if is_logged_step(runner):
            self._gather(runner)
            for name, bad in self._bad.items():
                runner.message_hub.update_scalar(f'train/bad_images/{name}', len(bad))
        if is_logged_step(runner) or get_world_size() == 1:
            self._write(runner)
            for name, bad in self._bad.items():
                self._dataset.refuse_more(name, bad)

    def after_train(self, runner: Runner) -> None:
        """List the bad images of the last steps."""
        if self._bad:
            self._gather(runner)
            self._write(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Record the bad images."""
        checkpoint['meta']['bad_images'] = self._bad

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore the bad images of a resumed training."""
        if runner._resume:
            self._bad = checkpoint['meta'].get('bad_images', {})

    def _add(self, runner: Runner, name: str, found: Iterable[tuple[str, str]]) -> None:
        known = self._bad.setdefault(name, {})
        for path, reason in found:
            if path not in known:
                known[path] = reason
                runner.logger.warning(f"source '{name}': {path} {reason}; it is skipped")

    def _gather(self, runner: Runner) -> None:
        if get_world_size() == 1:
            return
        found: list[Any] = [None] * get_world_size()
        dist.all_gather_object(found, self._bad)
        for name, bad in (entry for rank in found for entry in rank.items()):
            self._add(runner, name, bad.items())

    def _write(self, runner: Runner) -> None:
        lines = [f'{name}\t{path}\t{reason}\n' for name, bad in self._bad.items() for path, reason in bad.items()]
        if runner.rank == 0 and len(lines) > self._listed:
            atomic_write_text(Path(runner.work_dir) / LIST, ''.join(lines))
            self._listed = len(lines)
