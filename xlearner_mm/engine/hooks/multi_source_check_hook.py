"""Refuse a training whose batches would not be what its sources say."""

from __future__ import annotations

from functools import partial
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler
from xlearner_mm.datasets.integrity.guarded_reading import ignored_value, leaves
from xlearner_mm.datasets.label_maps import values_of_maps
from xlearner_mm.datasets.multi_source_dataset import refuse_batch_size
from xlearner_mm.engine.optim import refuse_weights_without_effect
from xlearner_mm.errors import ConfigError, SourceError, refuse_unknown
from xlearner_mm.models.expansion import ExpansionLearner
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.nearest_name import settings_of
from xlearner_mm.registry import HOOKS


@HOOKS.register_module()
class MultiSourceCheckHook(Hook):
    """Compare loader, sampler, dataset and model before the first step.

    Of trainings on one stock dataset, only label maps are looked at.

    Raises:
        SourceError: label maps that tell no class from another, a loader that does not cut steps where the sampler
            begins them, a collate function's unknown setting, sources that the dataset and the model know differently,
            or loss weights without effect.
    """

    def before_train(self, runner: Runner) -> None:
        """Check once, before any image is read."""
        loader = runner.train_dataloader
        model = unwrapped(runner.model)
        _look_at_label_maps(runner, loader.dataset, taught=not hasattr(model, 'student'))
        if not isinstance(loader.dataset, MultiSourceDataset):
            return
        sampler = loader.sampler
        if not isinstance(sampler, MultiSourceSampler):
            raise ConfigError(
                f'train_dataloader.sampler is a {type(sampler).__name__}, but a MultiSourceDataset needs a '
                'MultiSourceSampler'
            )
        refuse_batch_size(loader.batch_size, sampler.batch_sizes)
        if isinstance(loader.collate_fn, partial):
            # MMEngine binds a config's settings to the function, and calls it with the first batch.
            function = loader.collate_fn.func
            owner = f'train_dataloader.collate_fn: {function.__name__}'
            refuse_unknown(owner, loader.collate_fn.keywords, settings_of(function))
        known = getattr(model, 'sources', {})
        unknown = [name for name in loader.dataset.sources if known and name not in known]
        if unknown:
            raise ConfigError(
                f'train_dataloader.dataset has source(s) {unknown}, which the model does not know; it knows '
                f'{list(known)}'
            )
        for name, source in known.items():
            if name not in loader.dataset.sources:
                raise SourceError(f"source '{name}' is in the model, but not in train_dataloader.dataset")
            if loader.dataset.sources[name].task != source.task:
                raise SourceError(
                    f"source '{name}': the model takes it for task '{source.task}', the dataset for "
                    f"'{loader.dataset.sources[name].task}'"
                )
        if isinstance(model, ExpansionLearner):
            refuse_weights_without_effect(model, runner.optim_wrapper)


def _look_at_label_maps(runner: Runner, dataset: Any, taught: bool) -> None:
    """Say which classes no label map holds; where labels are taught and no two classes are held, refuse."""
    several = isinstance(dataset, MultiSourceDataset)
    for name, held in dataset.datasets.items() if several else [(type(dataset).__name__, dataset)]:
        source = dataset.sources[name] if several else None
        for leaf in leaves(held):
            found = values_of_maps(leaf, ignored_value(source, leaf)) if leaf._fully_initialized else None
            if found is None:
                continue
            problem, note = found.problem(), found.note()
            if problem and taught:
                raise SourceError(f"source '{name}': {problem}")
            if note:
                runner.logger.warning(f"source '{name}': {note}")
