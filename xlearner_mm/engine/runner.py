"""The runner of all trainings: sources, hooks, loaders and learning rates on top of MMEngine's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import is_cuda_available
from mmengine.hooks import EarlyStoppingHook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from xlearner_mm.checkpoint import nothing_executed
from xlearner_mm.config.options import as_read, default_work_dir, read_config
from xlearner_mm.config.unknown_setting import explained, refuse_misspelled
from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler
from xlearner_mm.datasets.channel_order import agreed_order
from xlearner_mm.datasets.classes import read_stock
from xlearner_mm.datasets.integrity.images import guard_stock
from xlearner_mm.engine.hooks.whole_checkpoint_hook import as_whole
from xlearner_mm.engine.optim.wrapper import accumulative_counts, check_schedule_names, wrappers_of
from xlearner_mm.engine.recovery.rank_watch import DEFAULT_TIMEOUT, RankWatchHook, watch_ranks
from xlearner_mm.engine.recovery.resumable_runner import ResumableRunner
from xlearner_mm.engine.recovery.stop_signal import keep_workers
from xlearner_mm.engine.schedule import SETTING, images_per_step, is_scaled, keep_recipe, processes_of, scale_length
from xlearner_mm.errors import ConfigError, describe_error
from xlearner_mm.models.class_weights import check_class_weights
from xlearner_mm.models.data_preprocessor import tell_loaded_order
from xlearner_mm.models.expansion.data_parallel import BranchDataParallel
from xlearner_mm.models.recomputation import recompute_named
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import DATASETS, HOOKS, MODEL_WRAPPERS, RUNNERS, names_a, type_of
from xlearner_mm.sources import with_sources

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
"""Hooks of every training beside MMEngine's default ones."""

STAGE_HOOKS = ('StageMetaHook',)
"""Hooks of the expansion and squeeze stages."""

_VISUALIZERS = count()


@RUNNERS.register_module()
class XLearnerRunner(ResumableRunner):
    """MMEngine's runner with atomic checkpoints, exact resume, safe reading of files and checks before the first step.

    MMEngine's ``CheckpointHook`` becomes a
    :class:`~xlearner_mm.engine.hooks.whole_checkpoint_hook.WholeCheckpointHook`. Arguments as for MMEngine's.

    Raises:
        CheckpointError: a checkpoint that is damaged, of another model, or would have to be executed; no space to write
            one.
    """

    cfg: Config

    def __init__(self, model: nn.Module | dict[str, Any], *args: Any, **kwargs: Any) -> None:
        # `cfg` itself keeps the sources once: it is what is logged and written to the work directory.
        listed = (kwargs.get('cfg') or {}).get('sources')
        filled = with_sources({**kwargs, 'model': model, 'sources': listed})
        del filled['sources']
        super().__init__(filled.pop('model'), *args, **filled)
        self._train_dataloader: Any = self._keep_annotations(self._train_dataloader)
        scale_length(self)

    def _keep_annotations(self, loader: Any) -> Any:
        if not isinstance(loader, Mapping) or not names_a(loader.get('dataset'), MultiSourceDataset, DATASETS):
            return loader
        dataset = {'annotation_cache': os.path.join(self.work_dir, 'annotation_cache'), **loader['dataset']}
        return ConfigDict({**loader, 'dataset': dataset})

    @classmethod
    def from_cfg(cls, cfg: Config | Mapping[str, Any] | str | os.PathLike) -> XLearnerRunner:
        """Build the runner of a config, as ``tools/train.py`` does.

        The config's top-level ``sources`` are passed to dataset, sampler, model and evaluators. An optimizer step has
        ``images_per_step`` images where it is set, see :func:`~xlearner_mm.engine.schedule.keep_recipe`.

        Args:
            cfg: a config of either style, or its path; left unchanged. Without a ``work_dir``, logs and checkpoints go
                to ``work_dirs/<config name>``.

        Raises:
            FileNotFoundError: no such config.
            ConfigError: a config that cannot be read, a misspelled setting, or anything that cannot be built.
            CheckpointError: a checkpoint that the model is built from.
        """
        if isinstance(cfg, str | os.PathLike):
            cfg = read_config(os.fspath(cfg))
        cfg = as_read(cfg if isinstance(cfg, Config) else Config(dict(cfg)))
        cfg.setdefault('work_dir', default_work_dir(cfg.filename))
        refuse_misspelled(cfg)
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
        """Set up the environment, and monitor the ranks of a distributed run."""
        super().setup_env(env_cfg)
        self.rank_watch = watch_ranks(env_cfg.get('dist_cfg', {}).get('timeout', DEFAULT_TIMEOUT))

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """Build the model, and refuse class weights that do not fit its heads."""
        built = super().build_model(model)
        check_class_weights('model', built)
        return built

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes: by branch if its backward pass is, unless the config says otherwise."""
        settings = dict(model_wrapper_cfg or {})
        if self.distributed and not is_model_wrapper(model):
            if not settings and getattr(model, 'backward', None) == 'branch':
                settings['type'] = BranchDataParallel.__name__
            elif not is_cuda_available() and names_a(
                {'type': 'MMDistributedDataParallel', **settings}, DistributedDataParallel, MODEL_WRAPPERS
            ):
                # MMEngine names a device, which DDP refuses on a CPU.
                settings = {'broadcast_buffers': False, **settings, 'device_ids': None}
        return super().wrap_model(settings or None, model)

    def build_visualizer(self, visualizer: Visualizer | dict[str, Any] | None = None) -> Visualizer:
        """Build a visualizer under a name of its own: MMEngine reuses one of the same name, with its folder."""
        if isinstance(visualizer, Visualizer):
            return visualizer
        settings = dict(visualizer or {'type': 'Visualizer', 'vis_backends': [{'type': 'LocalVisBackend'}]})
        return super().build_visualizer({**settings, 'name': f'{self._log_dir} {next(_VISUALIZERS)}'})

    def register_hooks(self, default_hooks: dict[str, Any] | None = None, custom_hooks: list | None = None) -> None:
        """Register all hooks; without custom hooks in the config, MMEngine would skip ours."""
        super().register_hooks(default_hooks, custom_hooks or [])

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Register the default hooks, with ``CheckpointHook`` replaced and counting what the loop counts."""
        by_steps = isinstance(self._train_loop, Mapping) and 'max_iters' in self._train_loop
        interval = {'by_epoch': False, 'interval': 10000, 'max_keep_ckpts': 2} if by_steps else {'interval': 1}
        hooks = {'checkpoint': {'type': 'CheckpointHook', **interval}, **(hooks or {})}
        super().register_default_hooks({name: as_whole(hook) for name, hook in hooks.items()})
        if self.rank_watch is not None:
            self.register_hook(RankWatchHook(self.rank_watch))

    def register_custom_hooks(self, hooks: list) -> None:
        """Register a config's hooks, and those of ours that it does not set itself."""
        super().register_custom_hooks([as_whole(hook) for hook in hooks])
        for hook in [hook for hook in self._hooks if isinstance(hook, EarlyStoppingHook)]:
            # After CheckpointHook, so that the best checkpoint of a validation holds its count too.
            self._hooks.remove(hook)
            self.register_hook(hook, 'LOW')
        model = unwrapped(self.model)
        for own in (*OWN_HOOKS, *(STAGE_HOOKS if hasattr(model, 'describe') else ())):
            if not any(isinstance(hook, type_of({'type': own}, HOOKS)) for hook in self.hooks):
                self.register_hook({'type': own})

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict[str, Any] | None = None) -> None:
        """Scale the learning rate to the images of an update, accumulated iterations together.

        Args:
            optim_wrapper: with its optimizer or optimizers.
            auto_scale_lr: ``enable``, and ``base_batch_size``, the images of an update that the rate is set for.
                Defaults to None.

        Raises:
            ConfigError: no ``base_batch_size`` though enabled.
        """
        if auto_scale_lr is None or not is_scaled(auto_scale_lr):
            return
        self.message_hub.update_info(SETTING, images_per_step(self))
        base = auto_scale_lr['base_batch_size'] / accumulative_counts(self)
        super().scale_lr(optim_wrapper, {**auto_scale_lr, 'base_batch_size': base})
        for wrapper in wrappers_of(optim_wrapper).values():
            if wrapper.base_param_settings is not None:  # what is logged as `base_lr`
                wrapper.base_param_settings['lr'] *= images_per_step(self) / base

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build the schedules, for all parameters or by branch.

        Raises:
            ConfigError: schedules by branch that are not those of the optimizers.
        """
        check_schedule_names(scheduler, self.optim_wrapper)
        return super().build_param_scheduler(scheduler)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a loader; a stock dataset maps labels by class name and never silently substitutes another image."""
        loader = keep_workers(Runner.build_dataloader(read_stock(dataloader), seed, diff_rank_seed))
        guard_stock(loader.dataset)
        if isinstance(loader.sampler, MultiSourceSampler):
            loader.sampler.guarded = True
        return loader

    def _init_model_weights(self) -> None:
        # Modules that start from a checkpoint compare its input normalization with the preprocessor's.
        self._tell_loaded_order()
        super()._init_model_weights()

    def _tell_loaded_order(self) -> None:
        """Set the data preprocessor's channel order to that of the loaded images.

        Raises:
            ConfigError: images to train on and to evaluate on are loaded in different orders.
        """
        model = unwrapped(self.model)
        preprocessor = getattr(model, 'data_preprocessor', None)
        if preprocessor is None or hasattr(model, 'sources'):  # a stage sets it from its sources
            return
        loaders = self._train_dataloader, self._val_dataloader, self._test_dataloader
        datasets = dict(zip(('training', 'validation', 'test'), map(_dataset_of, loaders), strict=True))
        tell_loaded_order(preprocessor, agreed_order(datasets, type(model).__name__))

    def test(self) -> dict:
        """Test, and refuse images loaded in another channel order than in training."""
        self._tell_loaded_order()
        return super().test()

    def load_or_resume(self) -> None:
        """Load or resume, with the modules that ``activation_checkpointing`` names recomputed in training."""
        recompute_named(self.model, self.cfg.get('activation_checkpointing'))
        super().load_or_resume()


def _dataset_of(loader: Any) -> Any:
    return loader.get('dataset') if isinstance(loader, Mapping) else getattr(loader, 'dataset', None)
