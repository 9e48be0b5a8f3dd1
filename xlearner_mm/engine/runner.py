"""MMEngine's runner, with nothing lost and nothing executed."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, master_only
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import EarlyStoppingHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_state_dict
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

from xlearner_mm.atomic import atomic_write
from xlearner_mm.checkpoint import check_backbone, check_fits, nothing_executed, state_dict_of
from xlearner_mm.config.options import as_read, default_work_dir, read_config
from xlearner_mm.config.shared_sources import with_sources
from xlearner_mm.config.unknown_setting import explained, refuse_misspelt
from xlearner_mm.datasets import MultiSourceSampler
from xlearner_mm.datasets.channel_order import agreed_order
from xlearner_mm.datasets.classes import read_stock
from xlearner_mm.datasets.integrity.images import guard_stock
from xlearner_mm.engine.hooks.whole_checkpoint_hook import WholeCheckpointHook, as_whole
from xlearner_mm.engine.optim import check_schedule_names, wrappers_of
from xlearner_mm.engine.optim.wrapper import accumulative_counts
from xlearner_mm.engine.recovery.rank_watch import DEFAULT_TIMEOUT, RankWatchHook, watch_ranks
from xlearner_mm.engine.recovery.resume_point import Places, read_to_resume, resume_point, saved_checkpoints
from xlearner_mm.engine.recovery.resumed_settings import ConfiguredSettings, chosen_settings, refuse_other_optimizers
from xlearner_mm.engine.schedule import images_per_step, is_scaled, keep_recipe, processes_of, scale_length
from xlearner_mm.errors import CheckpointError, ConfigError, describe_error
from xlearner_mm.models.class_weights import check_class_weights
from xlearner_mm.models.data_preprocessor import tell_loaded_order
from xlearner_mm.models.recomputation import recompute_named
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import HOOKS, RUNNERS, type_of

OWN_HOOKS = (
    'LoopUnitsHook',
    'StepSeedHook',
    'MultiSourceCheckHook',
    'HookStateHook',
    'FiniteLossHook',
    'AccumulationHook',
    'BadImageHook',
    'ValidationHook',
    'RunRecordHook',
    'ProgressHook',
    'StopSignalHook',
)
"""What every training has beside MMEngine's default hooks."""

STAGE_HOOKS = ('StageMetaHook',)
"""What trainings of our own stages have too: it records the teacher, and holds a resumed training to it."""

_VISUALIZERS = count()
_IMAGES = 'images_per_step'


@RUNNERS.register_module()
class XLearnerRunner(Runner):
    """A runner whose checkpoints are whole or not there, and are read without executing anything in them.

    A training that is killed anywhere and resumed ends with the weights, the optimizer and the losses of one that was
    never stopped. MMEngine's ``CheckpointHook`` becomes a
    :class:`~xlearner_mm.engine.hooks.whole_checkpoint_hook.WholeCheckpointHook`. Arguments as for MMEngine's.

    Raises:
        CheckpointError: a checkpoint that is damaged, of another model, or would have to be executed; no space to write
            one.
    """

    _resume: bool | str
    _has_loaded: bool
    cfg: Config
    not_taken_over: Sequence[str] = ()
    """Settings of the config in whose place a resumed training has its checkpoint's."""

    def __init__(self, model: nn.Module | dict[str, Any], *args: Any, **kwargs: Any) -> None:
        # `cfg` itself keeps the sources once: it is what is logged and written to the work directory.
        listed = (kwargs.get('cfg') or {}).get('sources')
        filled = with_sources({**kwargs, 'model': model, 'sources': listed})
        del filled['sources']
        super().__init__(filled.pop('model'), *args, **filled)
        scale_length(self)

    @classmethod
    def from_cfg(cls, cfg: Config | Mapping[str, Any] | str | os.PathLike) -> XLearnerRunner:
        """Build the runner of a config: what ``tools/train.py`` and notebooks call.

        An optimizer step of a config that sets ``images_per_step`` has that many images, see
        :func:`~xlearner_mm.engine.schedule.keep_recipe`.

        Args:
            cfg: a config of either style, or the path of one; it is left as it is. Without a ``work_dir``, logs and
                checkpoints go to ``work_dirs/<config name>``.

        Raises:
            FileNotFoundError: no such config.
            ConfigError: a config that cannot be read, a setting of the training that is misspelt, or anything that
                cannot be built.
            CheckpointError: a checkpoint that the model is built from.
        """
        if isinstance(cfg, str | os.PathLike):
            cfg = read_config(os.fspath(cfg))
        cfg = as_read(cfg if isinstance(cfg, Config) else Config(dict(cfg)))
        cfg.setdefault('work_dir', default_work_dir(cfg.filename))
        refuse_misspelt(cfg)
        plan = keep_recipe(cfg, processes_of(cfg))
        try:
            with nothing_executed():
                runner = super().from_cfg(cfg)
        except ConfigError:
            raise
        except Exception as error:
            refused = ConfigError(f'the config cannot be built: {describe_error(error)}')
            raise (refused if (said := explained(error, cfg)) is error else said) from error
        if plan is not None:
            runner.logger.info(plan.describe())
        return runner

    def setup_env(self, env_cfg: dict) -> None:
        """Set the environment up; several ranks then watch each other."""
        super().setup_env(env_cfg)
        self.rank_watch = watch_ranks(env_cfg.get('dist_cfg', {}).get('timeout', DEFAULT_TIMEOUT))

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model; one whose losses are of other classes than its heads is refused."""
        built = super().build_model(model)
        check_class_weights('model', built)
        return built

    def build_visualizer(self, visualizer: Visualizer | dict[str, Any] | None = None) -> Visualizer:
        """Build a visualizer of this run alone: of one name, MMEngine keeps the first, which logs into its own folder.

        Stock configs call theirs ``visualizer``; the name that MMEngine makes is the same for a whole second.
        """
        if isinstance(visualizer, Visualizer):
            return visualizer
        settings = dict(visualizer or {'type': 'Visualizer', 'vis_backends': [{'type': 'LocalVisBackend'}]})
        return super().build_visualizer({**settings, 'name': f'{self._log_dir} {next(_VISUALIZERS)}'})

    def register_hooks(self, default_hooks: dict[str, Any] | None = None, custom_hooks: list | None = None) -> None:
        """Register all hooks; MMEngine asks for no custom ones, nor for our own, where a config sets none."""
        super().register_hooks(default_hooks, custom_hooks or [])

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Register MMEngine's default hooks, the checkpoints' replaced, which count what the loop counts."""
        by_steps = isinstance(self._train_loop, Mapping) and 'max_iters' in self._train_loop
        interval = {'by_epoch': False, 'interval': 10000, 'max_keep_ckpts': 2} if by_steps else {'interval': 1}
        hooks = {'checkpoint': {'type': 'CheckpointHook', **interval}, **(hooks or {})}
        super().register_default_hooks({name: as_whole(hook) for name, hook in hooks.items()})
        if self.rank_watch is not None:
            self.register_hook(RankWatchHook(self.rank_watch))

    def register_custom_hooks(self, hooks: list) -> None:
        """Register a config's hooks, and of our own those that it does not set itself."""
        super().register_custom_hooks([as_whole(hook) for hook in hooks])
        for hook in [hook for hook in self._hooks if isinstance(hook, EarlyStoppingHook)]:
            # A checkpoint of the same validation's result, the best one, holds its count too.
            self._hooks.remove(hook)
            self.register_hook(hook, 'LOW')
        model = unwrapped(self.model)
        for own in (*OWN_HOOKS, *(STAGE_HOOKS if hasattr(model, 'describe') else ())):
            if not any(isinstance(hook, type_of({'type': own}, HOOKS)) for hook in self.hooks):
                self.register_hook({'type': own})

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict[str, Any] | None = None) -> None:
        """Let the learning rate follow the images of an update: those of accumulated steps together.

        Args:
            optim_wrapper: with its optimizer or optimizers.
            auto_scale_lr: ``enable``, and the images an update, ``base_batch_size``, that the rate is set for. Defaults
                to None.

        Raises:
            ConfigError: no ``base_batch_size`` though enabled.
        """
        if auto_scale_lr is None or not is_scaled(auto_scale_lr):
            return
        self.message_hub.update_info(_IMAGES, images_per_step(self))
        base = auto_scale_lr['base_batch_size'] / accumulative_counts(self)
        super().scale_lr(optim_wrapper, {**auto_scale_lr, 'base_batch_size': base})
        for wrapper in wrappers_of(optim_wrapper).values():
            if wrapper.base_param_settings is not None:  # what is logged as `base_lr`
                wrapper.base_param_settings['lr'] *= images_per_step(self) / base

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build the schedules, of all or by branch.

        Raises:
            ConfigError: schedules by branch that are not those of the optimizers.
        """
        check_schedule_names(scheduler, self.optim_wrapper)
        return super().build_param_scheduler(scheduler)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint aside, and move it into its place when it is whole.

        On storage other than local disks (``backend_args``), writing is as whole as that storage makes it.
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
        """Return the checkpoint that ``--resume`` would begin with; None before any is written."""
        return next(iter(saved_checkpoints(self.work_dir, self._places())), None)

    def _places(self) -> Places:
        return next((hook.places for hook in self.hooks if isinstance(hook, WholeCheckpointHook)), Places())

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a loader; labels of a stock data set go by names, and it takes no other image in silence."""
        loader = Runner.build_dataloader(read_stock(dataloader), seed, diff_rank_seed)
        guard_stock(loader.dataset)
        if isinstance(loader.sampler, MultiSourceSampler):
            loader.sampler.guarded = True
        return loader

    def _init_model_weights(self) -> None:
        # What starts from a checkpoint compares how its images were normalized with what it will see here.
        self._tell_loaded_order()
        super()._init_model_weights()

    def _tell_loaded_order(self) -> None:
        """Tell the data preprocessor in which channel order this training's images are loaded.

        Raises:
            ConfigError: images to train on and to evaluate on are loaded in different orders.
        """
        model = unwrapped(self.model)
        preprocessor = getattr(model, 'data_preprocessor', None)
        if preprocessor is None or hasattr(model, 'sources'):  # of its sources, a stage has told it itself
            return
        loaders = self._train_dataloader, self._val_dataloader, self._test_dataloader
        datasets = dict(zip(('training', 'validation', 'test'), map(_dataset_of, loaders), strict=True))
        tell_loaded_order(preprocessor, agreed_order(datasets, type(model).__name__))

    def test(self) -> dict:
        """Test; images that are loaded in another channel order than those of the training are refused."""
        self._tell_loaded_order()
        return super().test()

    def train(self) -> nn.Module:
        """Train, and return the model; what modules start from by their ``init_cfg`` is read without executing it."""
        with nothing_executed():
            return super().train()

    def load_or_resume(self) -> None:
        """Load or resume as the config says; of a work directory, the last checkpoint that is whole.

        ``resume=True`` resumes from ``load_from``, a file or another work directory, or from the own one.
        ``resume='auto'`` resumes from the own one, and begins from ``load_from`` where nothing has been saved.
        """
        recompute_named(self.model, self.cfg.get('activation_checkpointing'))
        chosen_settings(self)  # refused at the first start, not when the training is resumed
        auto, named = self._resume == 'auto', self._load_from
        if self._has_loaded or not self._resume or not (auto or named is None or osp.isdir(named)):
            super().load_or_resume()
            return
        folder = self.work_dir if auto or named is None else str(named)
        found = self._resume_point(folder)
        if found is not None:
            self.logger.info(f'Resume from the last whole checkpoint, {found}.')
            self.resume(found)
            return
        if folder == named:
            raise CheckpointError(f'{folder} holds no checkpoint to resume from')
        begins = 'the beginning' if named is None else f'load_from, {named}'
        self.logger.info(f'Nothing to resume in {folder}: the training starts from {begins}.')
        # Hooks ask it whether what they are given goes on.
        self._resume = False
        super().load_or_resume()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resume with the checkpoint's schedule and optimizer settings, or those that ``resume_schedule`` chooses.

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

    def _resume_point(self, folder: str) -> str | None:
        found: list[Any] = [None]
        if self.rank == 0:
            found = [resume_point(folder, self._places())]
        broadcast_object_list(found)
        return found[0]

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: list | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint without executing anything in it.

        To resume, it must hold all of the model's weights and nothing else, after hooks have had their turn. To start
        from, it must hold all of the backbone; of a model without one, at least something.

        Args:
            filename: a file, or a work directory.
            map_location: has no effect; tensors go where the module or optimizer that takes them is.
            strict: whether what is started from must fit as well. Defaults to False.
            revise_keys: not taken; names that wrappers put before the weights' own are removed by themselves.

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
        self._refuse_other_scale(checkpoint, filename)
        if self._resume:
            refuse_other_optimizers(self, checkpoint, filename)
        # MMEngine would execute a config found under this name; its own checkpoints have none.
        checkpoint.setdefault('meta', {}).pop('config', None)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        model = unwrapped(self.model)
        state = state_dict_of(checkpoint)
        self._check(model, state, filename, strict)
        load_state_dict(model, state, strict=False, logger=self.logger)
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint

    def _refuse_other_scale(self, checkpoint: Mapping[str, Any], filename: str) -> None:
        trained = checkpoint.get('message_hub', {}).get('runtime_info', {}).get(_IMAGES)
        if not self._resume or trained is None or not is_scaled(self.auto_scale_lr):
            return
        if trained != images_per_step(self):
            raise CheckpointError(
                f'checkpoint {filename} was trained with {trained} images a step, this run has '
                f'{images_per_step(self)}: auto_scale_lr would change rate and length midway; resume with as many '
                'processes and images, or start a new training from it by load_from'
            )

    def _check(self, model: nn.Module, state: dict[str, Any], filename: str, strict: bool) -> None:
        own = model.state_dict()
        if self._resume or strict:
            check_fits(model, state, f'checkpoint {filename}')
        elif not set(state) & set(own):
            raise CheckpointError(f'load_from: checkpoint {filename} holds nothing of {type(model).__name__}')
        else:
            check_backbone(state, own, filename)


def _dataset_of(loader: Any) -> Any:
    return loader.get('dataset') if isinstance(loader, Mapping) else getattr(loader, 'dataset', None)
