"""Check the training data against sampler, model and the other ranks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler
from xlearner_mm.datasets.classes import values_of_maps
from xlearner_mm.datasets.fingerprint import fingerprint
from xlearner_mm.datasets.integrity.images import ignored_value
from xlearner_mm.datasets.multi_source_dataset import refuse_batch_size
from xlearner_mm.datasets.shared_annotations import is_copy
from xlearner_mm.datasets.stock_datasets import leaves
from xlearner_mm.engine.optim.loss_weights import refuse_weights_without_effect
from xlearner_mm.errors import ConfigError, SourceError, refuse_unknown
from xlearner_mm.models.expansion import ExpansionLearner
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.nearest_name import settings_of
from xlearner_mm.registry import HOOKS


@HOOKS.register_module()
class MultiSourceCheckHook(Hook):
    """Compare loader, sampler, dataset and model, and the data of all ranks, before the first step.

    A training on one stock dataset is checked for its label maps and the same data on all ranks.

    Raises:
        ConfigError: another sampler, a loader whose batches are not the sampler's steps, an unknown setting of the
            collate function, or loss weights without effect.
        SourceError: label maps with less than two classes, sources that differ between dataset and model, or images or
            annotations that differ between ranks.
    """

    def before_train(self, runner: Runner) -> None:
        """Check before any image is read."""
        dataset = runner.train_dataloader.dataset
        _check_label_maps(runner, dataset, taught=not hasattr(unwrapped(runner.model), 'student'))
        if isinstance(dataset, MultiSourceDataset):
            _check_sources(runner, dataset)
        _compare_ranks(dataset)


def _check_sources(runner: Runner, dataset: MultiSourceDataset) -> None:
    loader, sampler, model = runner.train_dataloader, runner.train_dataloader.sampler, unwrapped(runner.model)
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
    unknown = [name for name in dataset.sources if known and name not in known]
    if unknown:
        raise ConfigError(
            f'train_dataloader.dataset has source(s) {unknown}, which the model does not know; it knows {list(known)}'
        )
    for name, source in known.items():
        if name not in dataset.sources:
            raise SourceError(f"source '{name}' is in the model, but not in train_dataloader.dataset")
        if dataset.sources[name].task != source.task:
            raise SourceError(
                f"source '{name}': the model takes it for task '{source.task}', the dataset for "
                f"'{dataset.sources[name].task}'"
            )
    if isinstance(model, ExpansionLearner):
        refuse_weights_without_effect(model, runner.optim_wrapper)


def _check_label_maps(runner: Runner, dataset: Any, taught: bool) -> None:
    """Warn of classes that no label map holds; refuse maps of less than two classes if labels are trained on."""
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


def _compare_ranks(dataset: Any) -> None:
    """Refuse ranks whose sources differ: with slices of one permutation, images would be seen twice or never."""
    if get_world_size() == 1:
        return
    several = isinstance(dataset, MultiSourceDataset)
    own: dict[str, Any] = dict(dataset.datasets) if several else {'train_dataloader': dataset}
    # Copies of this machine's reader are compared by the reader.
    mine = {
        name: (len(source), None if is_copy(list(leaves(source))) else fingerprint(source))
        for name, source in own.items()
    }
    everyones: list[dict] = [{} for _ in range(get_world_size())]
    dist.all_gather_object(everyones, mine)
    for rank, theirs in enumerate(everyones):
        for name, here in everyones[0].items():
            there = theirs.get(name)
            if there is None or there[0] != here[0] or there[1] not in (None, here[1]):
                found = 'nothing' if there is None else f'{there[0]} images ({there[1]})'
                raise SourceError(
                    f"source '{name}': rank {rank} holds {found}, but rank 0 holds {here[0]} images ({here[1]}): copy "
                    'the same files and annotations to every machine'
                )
