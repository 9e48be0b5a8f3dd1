"""A training built without its data."""

from __future__ import annotations

import math
import os.path as osp
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from torch.utils.data import Dataset

from xlearner_mm.analysis.dry_run.source_data import SourceData, read_source
from xlearner_mm.checkpoint import META_KEY, resolve_checkpoint
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.classes import classes_of, refuse_more_classes
from xlearner_mm.datasets.stock_datasets import build_deferred, build_unread
from xlearner_mm.engine.hooks.loop_units_hook import check_units
from xlearner_mm.engine.hooks.multi_source_check_hook import MultiSourceCheckHook
from xlearner_mm.engine.hooks.pruning_hook import PruningHook
from xlearner_mm.engine.launch import build_optimizer, build_runner
from xlearner_mm.engine.optim.wrapper import wrappers_of
from xlearner_mm.errors import CheckpointError, ConfigError, SourceError, describe_error
from xlearner_mm.evaluation.coco_ground_truth import prepare_ground_truth
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.models.compilation import check_compile
from xlearner_mm.models.distillation.foundation import FoundationBackbone
from xlearner_mm.models.distillation.teachers import as_teacher
from xlearner_mm.models.expansion import ExpansionLearner
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.registry import DATASETS, METRICS, MODELS, names_a
from xlearner_mm.sources import parse_sources, with_sources

STOCK = 'train'
"""Name of the data of a stock training, which has no sources."""


@dataclass
class Blueprint:
    """A training that is built without data.

    Args:
        runner: with model, optimizer, schedules, hooks and training loop.
        sources: name -> data; a stock training has one, :data:`STOCK`.
        learning_rates: branch -> rate after any warm-up; of one optimizer for all, under ``''``.
        notes: checks that were not possible.
    """

    runner: Runner
    sources: dict[str, SourceData]
    learning_rates: dict[str, float]
    notes: list[str] = field(default_factory=list)

    @property
    def has_sources(self) -> bool:
        """True for an expansion or a squeeze, False for a stock training."""
        return STOCK not in self.sources


class _Sized(Dataset):
    """A dataset of a declared length without images."""

    metainfo: dict[str, Any] = {}

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length


_PLAIN = {'mmdet': 'BaseDetDataset', 'mmseg': 'BaseSegDataset'}  # scope -> its dataset without files of its own


def build_blueprint(cfg: Config, folder: str) -> Blueprint:
    """Build a training on the CPU, without its data.

    Args:
        cfg: the training's config, changed in place.
        folder: for its log and random checkpoints.

    Raises:
        ConfigError: anything that cannot be built; names it.
        CheckpointError: an existing checkpoint of a teacher does not fit it.
    """
    cfg.work_dir, cfg.log_level, cfg.resume = folder, 'ERROR', False
    if names_a(cfg.get('model'), (ExpansionLearner, FitNetDistiller), MODELS):
        check_compile('model', cfg.model.pop('compile', None))  # its FLOPs and memory are counted as eager
    notes = [f'{path} is not there yet: random weights stand in' for path in stand_in_teachers(cfg, folder)]
    notes += dict.fromkeys(
        stand_in_datasets(
            [cfg.get(key) for key in ('sources', 'train_dataloader', 'val_dataloader')], cfg.get('default_scope')
        )
    )
    notes += _missing_start(cfg)
    runner = build_runner(cfg)
    build_optimizer(runner)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    # Before a warm-up lowers them, and before factors of single parameters.
    rates = {
        name: (wrapper.base_param_settings or wrapper.optimizer.param_groups[0])['lr']
        for name, wrapper in wrappers_of(runner.optim_wrapper).items()
    }
    runner.model = revert_sync_batchnorm(runner.model.cpu()).train()
    sources = _build_data(runner)
    notes += _absent_files(sources.values())
    notes += _build_rest(runner)
    notes += check_validation(runner)
    return Blueprint(runner, sources, rates, notes)


def stand_in_datasets(settings: Any, scope: str | None = None) -> list[str]:
    """Replace datasets whose class looks for absent files when it is built, such as StanfordCars, by empty ones.

    Args:
        settings: that may hold datasets, changed in place.
        scope: of datasets that have none of their own. Defaults to None: MMEngine's.

    Returns:
        A note for each replaced dataset.
    """
    if isinstance(settings, dict):
        root, scope = settings.get('data_root'), settings.get('_scope_', scope)
        if isinstance(root, str) and 'pipeline' in settings and not osp.isdir(root):
            try:
                build_unread({**settings, '_scope_': scope, 'pipeline': []})
            except (RuntimeError, AssertionError):
                with DATASETS.switch_scope_and_registry(scope) as registry:
                    classes = registry.get(settings['type']).METAINFO.get('classes')
                kind = settings['type']
                for key in set(settings) - {'pipeline', 'data_root', '_scope_'}:
                    del settings[key]
                settings.update(type=_PLAIN.get(scope or '', 'BaseDataset'), ann_file='', metainfo={'classes': classes})
                return [f'{root} is not there: an empty dataset stands in for {kind}']
            except Exception:  # reported with its source, when it is built
                return []
        settings = settings.values()
    if isinstance(settings, str) or not isinstance(settings, Iterable):
        return []
    return [note for value in list(settings) for note in stand_in_datasets(value, scope)]


def _missing_start(cfg: Config) -> list[str]:
    notes = []
    for what, checkpoint in _starts(cfg):
        try:
            resolve_checkpoint(checkpoint)
        except CheckpointError as error:
            notes.append(f'{what}: {error}')
    return notes


def _starts(cfg: Config) -> Iterator[tuple[str, str]]:
    """Yield a part of the model and the checkpoint that it starts from."""
    if cfg.get('load_from'):
        yield 'load_from', cfg.load_from
    for name, branch in cfg.get('model', {}).get('backbone', {}).get('branches', {}).items():
        init_cfg = branch.get('init_cfg') or {}
        if isinstance(init_cfg, Mapping) and 'checkpoint' in init_cfg:
            yield f"branch '{name}'", init_cfg['checkpoint']


def _absent_files(sources: Iterable[SourceData]) -> list[str]:
    return [
        f"source '{data.name}': {data.absent} is not there, although its data_root is: check its name"
        for data in sources
        if data.absent is not None
    ]


def _build_data(runner: Runner) -> dict[str, SourceData]:
    """Build datasets, and replace the runner's loader by one that reads nothing."""
    settings: Any = runner._train_dataloader
    try:
        if names_a(settings.dataset, MultiSourceDataset, DATASETS):
            dataset: Any = DATASETS.build({**settings.dataset, 'lazy_init': True})
            loader = _loader(runner, settings, dataset)
            # Other kinds of samplers are refused when the rest is built.
            sizes = getattr(loader.sampler, 'batch_sizes', {})
            sources = {name: _read(name, dataset, sizes.get(name, s.batch_size)) for name, s in dataset.sources.items()}
            _give_length(loader.sampler, sources.values())
        else:
            stock, declared = build_deferred(settings.dataset), runner.cfg.get('declared', {})
            sources = {STOCK: read_source(STOCK, stock, settings.dataset, settings.batch_size, declared)}
            held = stock if sources[STOCK].picture is None else _Sized(sources[STOCK].images or settings.batch_size)
            loader = _loader(runner, settings, held)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f'train_dataloader cannot be built: {describe_error(error)}') from error
    runner._train_dataloader = loader
    return sources


def _loader(runner: Runner, settings: Mapping[str, Any], dataset: Any) -> Any:
    # Workers would each start a process.
    plain = {**settings, 'dataset': dataset, 'num_workers': 0, 'persistent_workers': False}
    plain.pop('prefetch_factor', None)
    return runner.build_dataloader(plain, seed=0)


def _give_length(sampler: Any, sources: Iterable[SourceData]) -> None:
    """Give an infinite sampler the length of an epoch, for which it would read the files."""
    if getattr(sampler, 'steps_per_epoch', 0) is None:
        epochs = (math.ceil(data.images / data.batch_size) for data in sources if data.images is not None)
        sampler.assumed_length = max(epochs, default=1)


def _read(name: str, dataset: MultiSourceDataset, batch_size: int) -> SourceData:
    source = dataset.sources[name]
    try:
        data = read_source(name, dataset.datasets[name], source.dataset, batch_size, source.declared, source)
    except ConfigError as error:
        owner = f"source '{name}': "
        raise SourceError(owner + str(error).removeprefix(owner)) from error
    refuse_more_classes(source, dataset.datasets[name])
    return data


def _build_rest(runner: Runner) -> list[str]:
    """Build loop and schedules, run the checks of hooks, and return their notes."""

    def build_schedules() -> None:
        if runner.param_schedulers is not None:
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)

    for what, build in (('train_cfg', lambda: runner.train_loop), ('param_scheduler', build_schedules)):
        try:
            build()
        except Exception as error:
            raise ConfigError(f'{what} cannot be built: {describe_error(error)}') from error
    notes = check_units(runner)
    MultiSourceCheckHook().before_train(runner)
    for hook in runner.hooks:
        if isinstance(hook, PruningHook):
            hook.before_run(runner)
    return notes


def stand_in_teachers(cfg: Config, folder: str) -> list[str]:
    """Replace absent checkpoints of frozen teachers by random ones, and return which.

    Args:
        cfg: the training's config, changed in place.
        folder: for the random checkpoints.
    """
    model = cfg.get('model', {})
    squeezed = 'teacher' in model
    others = model.get('further_teachers' if squeezed else 'hints') or {}
    absent = {name: settings for name, settings in others.items() if _is_absent(settings)}
    if squeezed and _is_absent(model.teacher):
        absent = {'teacher': model.teacher, **absent}
    if not absent:
        return []
    filled = with_sources(cfg)['model']
    learner = as_teacher(filled.teacher.model if squeezed else filled)
    built = MODELS.build(learner)
    replaced = []
    for name, settings in absent.items():
        content = _content(learner if name == 'teacher' else settings.model, built)
        replaced.append(f'{settings.checkpoint} (of {name})')
        settings.checkpoint = osp.join(folder, f'{name}.pth')
        torch.save(content, settings.checkpoint)
    return replaced


def _is_absent(settings: Mapping[str, Any]) -> bool:
    try:
        resolve_checkpoint(settings['checkpoint'])
    except CheckpointError:
        return True
    return False


def _content(model: Mapping[str, Any], learner: Any) -> dict[str, Any]:
    """Return a checkpoint as the missing stage would write it."""
    if names_a(model, ExpansionLearner, MODELS):
        other = MODELS.build(as_teacher(model))
        return {'state_dict': other.state_dict(), 'meta': {META_KEY: other.describe()}}
    backbone = MODELS.build(without_library_defaults(model))
    if isinstance(backbone, FoundationBackbone):
        return {'state_dict': backbone.model.state_dict()}
    state = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    return {'state_dict': state, 'meta': {'normalization': learner.normalization.record()}}


def check_validation(runner: Runner) -> list[str]:
    """Build datasets and metrics of validation without reading annotations.

    Args:
        runner: of the training.

    Returns:
        Checks that were not possible because files do not exist.

    Raises:
        ConfigError: what cannot be built.
    """
    notes = []
    for owner, loader, metrics in _validations(runner):
        try:
            dataset = build_deferred(loader['dataset'])
            for metric in [metrics] if isinstance(metrics, Mapping) else metrics:
                prepare_ground_truth(METRICS.build(dict(metric)), classes_of(dataset))
        except FileNotFoundError as error:
            notes.append(f'{owner}validation is not checked: {error.filename or error} is not there')
        except Exception as error:
            raise SourceError(f'{owner}validation cannot be built: {type(error).__name__}: {error}') from error
    return notes


def _validations(runner: Runner) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Yield owner, loader and metrics of every validation."""
    loader: Any = runner._val_dataloader or {}
    evaluator: Any = runner._val_evaluator or {}
    if 'dataset' in loader:
        yield '', loader, evaluator
    elif 'sources' in evaluator:
        for name, source in parse_sources(evaluator['sources']).items():
            if source.val_dataloader is not None:
                yield f"source '{name}': ", source.val_dataloader, source.val_evaluator
