"""Training progress as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.pipeline.progress import PROGRESS_FILE, ProgressFile
from xlearner_mm.registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Write the steps done to ``<work_dir>/progress.json`` at most once a second, for job runners to read.

    If the file cannot be written, the training continues without it.
    """

    _file: ProgressFile | None = None

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Write the step that the training starts from."""
        steps = getattr(runner.train_loop, 'max_iters', 0)
        if steps:
            try:
                self._file = ProgressFile(Path(runner.work_dir), steps, runner.iter)
            except OSError as error:
                self._give_up(runner, error)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write the steps done."""
        if self._file is not None:
            try:
                self._file.update(runner.iter + 1)
            except OSError as error:
                self._give_up(runner, error)

    def _give_up(self, runner: Runner, error: OSError) -> None:
        self._file = None
        runner.logger.warning(f'{Path(runner.work_dir) / PROGRESS_FILE} is no longer written: {error.strerror}')
