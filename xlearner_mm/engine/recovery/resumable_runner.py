"""A runner whose checkpoints are written atomically, read without executing anything, and resumed exactly."""

from __future__ import annotations

import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.dist import broadcast_object_list, master_only
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from xlearner_mm.atomic import atomic_write
from xlearner_mm.checkpoint import check_backbone, check_fits, nothing_executed, state_dict_of
from xlearner_mm.engine.hooks.whole_checkpoint_hook import WholeCheckpointHook
from xlearner_mm.engine.recovery.resume_point import Places, read_to_resume, resume_point, saved_checkpoints
from xlearner_mm.engine.recovery.resumed_settings import ConfiguredSettings, chosen_settings, match_optimizers
from xlearner_mm.engine.schedule import SETTING, images_per_step, is_scaled
from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.unwrapped import unwrapped


class ResumableRunner(Runner):
    """Save, load and resume checkpoints. A run that was killed and resumed equals an uninterrupted one."""

    _resume: bool | str
    _has_loaded: bool
    not_taken_over: Sequence[str] = ()
    """Settings of the config that a resumed training ignores: it keeps its checkpoint's."""

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint, atomically on a local disk; other storage (``backend_args``) writes as it does.

        Raises:
            CheckpointError: it cannot be written; the message names the last one.
        """
        if kwargs.get('backend_args') or not isinstance(get_file_backend(out_dir), LocalBackend):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        path = osp.join(out_dir, filename)
        try:
            with atomic_write(path) as partial:
                super().save_checkpoint(out_dir, osp.basename(partial), *args, **kwargs)
        except OSError as error:
            raise CheckpointError(
                f'checkpoint {path} cannot be written: {error.strerror or error}; the last one is '
                f'{self.last_checkpoint()}: make room and start the same command with --resume'
            ) from error

    def last_checkpoint(self) -> str | None:
        """Return the checkpoint that ``--resume`` would take; None before any is written."""
        return next(iter(saved_checkpoints(self.work_dir, self._places())), None)

    def _places(self) -> Places:
        return next((hook.places for hook in self.hooks if isinstance(hook, WholeCheckpointHook)), Places())

    def train(self) -> nn.Module:
        """Train, and return the model; checkpoints in ``init_cfg`` are read without executing anything."""
        with nothing_executed():
            return super().train()

    def load_or_resume(self) -> None:
        """Load or resume as the config says; from a work directory, the last readable checkpoint.

        ``resume=True`` resumes from ``load_from``, a file or another work directory, or else from its own one.
        ``resume='auto'`` resumes from its own one, or starts from ``load_from`` if nothing has been saved.
        """
        chosen_settings(self)  # refused at the first start, not when the training is resumed
        auto, named = self._resume == 'auto', self._load_from
        if self._has_loaded or not self._resume or not (auto or named is None or osp.isdir(named)):
            super().load_or_resume()
            return
        folder = self.work_dir if auto or named is None else str(named)
        found: list[Any] = [resume_point(folder, self._places()) if self.rank == 0 else None]
        broadcast_object_list(found)
        if found[0] is not None:
            self.logger.info(f'Resume from the last whole checkpoint, {found[0]}.')
            self.resume(found[0])
            return
        if folder == named:
            raise CheckpointError(f'{folder} holds no checkpoint to resume from')
        begins = 'the beginning' if named is None else f'load_from, {named}'
        self.logger.info(f'Nothing to resume in {folder}: the training starts from {begins}.')
        self._resume = False  # hooks read it
        super().load_or_resume()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resume with the schedule and optimizer settings of the checkpoint, or as ``resume_schedule`` says.

        Args:
            filename: a checkpoint.
            args: as for MMEngine's.
            kwargs: as for MMEngine's.

        Raises:
            CheckpointError: an optimizer or schedules of other kinds than the checkpoint's.
        """
        configured = ConfiguredSettings(self)
        super().resume(filename, *args, **kwargs)
        self.not_taken_over = configured.settle(self)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: list | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint without executing anything in it.

        To resume, it must hold exactly the weights of the model. To start from, it must hold all weights of the
        backbone, or at least one weight of a model without backbone.

        Args:
            filename: a file, or a work directory.
            map_location: has no effect.
            strict: whether a checkpoint to start from must fit as well. Defaults to False.
            revise_keys: not supported; prefixes of model wrappers are removed automatically.

        Raises:
            CheckpointError: damaged, unsafe, or not of this model.
        """
        if revise_keys is not None:
            raise ValueError('XLearnerRunner takes no revise_keys: rename the weights in the checkpoint')
        checkpoint = read_to_resume(filename, Places(template=self._places().template))
        if self._resume and ('optimizer' not in checkpoint or 'iter' not in checkpoint.get('meta', {})):
            raise CheckpointError(
                f'checkpoint {filename} holds weights alone, no training that could be resumed: start a new one from '
                'it by load_from'
            )
        if self._resume:
            self._refuse_other_scale(checkpoint, filename)
            match_optimizers(self, checkpoint, filename)
        # MMEngine would execute a config found under this name; its own checkpoints have none.
        checkpoint.setdefault('meta', {}).pop('config', None)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model, state = unwrapped(self.model), state_dict_of(checkpoint)
        if self._resume or strict:
            check_fits(model, state, f'checkpoint {filename}')
        elif not set(state) & set(own := model.state_dict()):
            raise CheckpointError(f'load_from: checkpoint {filename} holds nothing of {type(model).__name__}')
        else:
            check_backbone(state, own, filename)
        load_state_dict(model, state, strict=False, logger=self.logger)
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint

    def _refuse_other_scale(self, checkpoint: Mapping[str, Any], filename: str) -> None:
        trained = checkpoint.get('message_hub', {}).get('runtime_info', {}).get(SETTING)
        if trained is None or not is_scaled(self.auto_scale_lr):
            return
        if trained != images_per_step(self):
            raise CheckpointError(
                f'checkpoint {filename} was trained with {trained} images a step, this run has '
                f'{images_per_step(self)}: auto_scale_lr would change rate and length midway; resume with as many '
                'processes and images, or start a new training from it by load_from'
            )
