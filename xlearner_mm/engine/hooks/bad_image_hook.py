"""Count, log and list the images that a training leaves out."""

from __future__ import annotations

import logging
import os.path as osp
from collections.abc import Iterator
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
"""Name of the list in the work directory: source, path and reason of every bad image, with tabs between."""


@HOOKS.register_module()
class BadImageHook(Hook):
    """Tell which images the sources with ``bad_data=dict(policy='skip')`` leave out.

    Logs every one as a warning and ``bad_images/<source>``, their number so far; lists them in
    ``<work_dir>/bad_images.txt``; ends the training when a source has more than its ``max_share``. Several ranks put
    together what they have found at the steps that are logged. Does nothing without such a source.

    Raises:
        SourceError: a source has more bad images than it may.
    """

    def __init__(self) -> None:
        self._bad: dict[str, dict[str, str]] = {}
        self._listed = 0

    def before_train(self, runner: Runner) -> None:
        """Take over what was found when annotations were read, and by the training that is resumed."""
        dataset = runner.train_dataloader.dataset
        if not isinstance(dataset, MultiSourceDataset):
            return
        self._dataset, earlier, self._bad = dataset, self._bad, {}
        for name, source in dataset.sources.items():
            if source.bad_data.skips:
                self._add(runner, name, {**dataset.bad_images[name], **earlier.get(name, {})}.items())
        self._write(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Look for marks in a batch."""
        if not self._bad:
            return
        for name in self._bad.keys() & data_batch.keys():
            self._add(runner, name, _replaced(data_batch[name]))
        if is_logged_step(runner):
            self._put_together(runner)
            for name, bad in self._bad.items():
                runner.message_hub.update_scalar(f'train/bad_images/{name}', len(bad))
        if is_logged_step(runner) or get_world_size() == 1:
            self._write(runner)
            for name, bad in self._bad.items():
                self._dataset.sources[name].bad_data.refuse_more(name, bad, self._dataset.images[name])

    def after_train(self, runner: Runner) -> None:
        """Put together what the last steps found."""
        if self._bad:
            self._put_together(runner)
            self._write(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep what was found."""
        checkpoint['meta']['bad_images'] = self._bad

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Go on counting where the interrupted training was."""
        if runner._resume:
            self._bad = checkpoint['meta'].get('bad_images', {})

    def _add(self, runner: Runner, name: str, found: Any) -> None:
        known = self._bad.setdefault(name, {})
        for path, reason in found:
            if path not in known:
                known[path] = reason
                runner.logger.log(logging.WARNING, f"source '{name}': {path} {reason}; it is left out")

    def _put_together(self, runner: Runner) -> None:
        if get_world_size() == 1:
            return
        everyones: list[Any] = [None] * get_world_size()
        dist.all_gather_object(everyones, self._bad)
        for found in everyones:
            for name, bad in found.items():
                self._add(runner, name, bad.items())

    def _write(self, runner: Runner) -> None:
        count = sum(map(len, self._bad.values()))
        if runner.rank == 0 and count > self._listed:
            lines = [f'{name}\t{path}\t{reason}\n' for name, bad in self._bad.items() for path, reason in bad.items()]
            atomic_write_text(osp.join(runner.work_dir, LIST), ''.join(lines))
            self._listed = count


def _replaced(batch: Any) -> Iterator[tuple[str, str]]:
    for sample in batch.get('data_samples', ()):
        yield from getattr(sample, 'metainfo', {}).get(REPLACED, ())
