"""The probe of a frozen backbone on one classification set, from its config to its test metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch.nn.functional import normalize, one_hot

from xlearner_mm.errors import ConfigError
from xlearner_mm.pipeline.progress import ProgressFile
from xlearner_mm.spread import stratified
from xlearner_mm.transfer.probing.features import FeatureExtractor, Features
from xlearner_mm.transfer.probing.logistic import best_strength, choose, fit, save_classifier
from xlearner_mm.transfer.rows import ProbeRecord
from xlearner_mm.transfer.set_config import leaf_datasets
from xlearner_mm.typed_json import to_json


def run_probe(
    cfg: Config, folder: Path, cache: Path, weights: str, probe: str, seed: int
) -> tuple[dict[str, float], ProbeRecord]:
    """Probe a frozen backbone; the test split is evaluated once, after all choices.

    The config is that of a stock mmpretrain training. Its ``primary_metric`` (default: top-1) selects the penalty, on
    the set's own split named by ``validation_split``, or else on a random fifth of the training images. The final
    classifier is fitted to all of them. ``memory_format='channels_last'`` extracts features in that memory format.

    Args:
        cfg: the config, with its backbone.
        folder: for the classifier's checkpoint (``lbfgs``).
        cache: folder of the cached features.
        weights: identifier of the backbone's weights, such as the checkpoint's SHA-256.
        probe: ``'lbfgs'`` or ``'knn'``.
        seed: of the validation split, and of a random start.

    Returns:
        The metrics of the test split by the config's own evaluator, and their provenance.
    """
    MMLogger.get_current_instance().setLevel('WARNING')  # it logs every parameter that is initialized
    memory_format = cfg.get('memory_format', 'contiguous')
    extractor = FeatureExtractor(cfg.model.to_dict(), weights, cache, cfg.default_scope, seed, memory_format)
    training = _extract(extractor, cfg, _training_set(cfg), 'training images', _progress_file(folder, 0)).distinct()
    classes = int(cfg.model.head.num_classes)
    record = ProbeRecord(probe, len(training))
    if probe == 'knn':
        test = _extract(extractor, cfg, cfg.test_dataloader.dataset.to_dict(), 'test images', _progress_file(folder, 1))
        scores = neighbor_scores(training, test.values, classes)
    else:
        split = cfg.get('validation_split')
        if split:
            dataset = cfg.train_dataloader.dataset.to_dict() | {'split': split}
            dataset.pop('indices', None)
            mask, name = official(training.images, extractor.images_of(dataset)), f"the set's own split '{split}'"
        else:
            mask, name = held_out(training.labels, seed), f'a fifth of every class, seed {seed}'
        curve = choose(training[~mask], training[mask], classes, lambda scores, labels: _judged(cfg, scores, labels))
        fitted = fit(training, best_strength(curve), classes)
        record = replace(
            record,
            validation=name,
            validation_images=int(mask.sum()),
            C=best_strength(curve),
            curve=curve,
            iterations=fitted.iterations,
            converged=fitted.converged,
        )
        # mmpretrain's inferencer reads the names of the classes from `dataset_meta`.
        names = extractor.classes_of(_training_set(cfg))
        meta = {**to_json(record), 'dataset_meta': {} if names is None else {'classes': names}}
        save_classifier(cfg.model.to_dict(), extractor.backbone(), fitted, folder, meta)
        test = _extract(extractor, cfg, cfg.test_dataloader.dataset.to_dict(), 'test images', _progress_file(folder, 1))
        scores = fitted.scores(test.values)
    return evaluate(cfg, scores, test.labels), replace(record, test_images=len(test))


def evaluate(cfg: Config, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the metrics of a config's own evaluator.

    Args:
        cfg: the config with the ``test_evaluator``.
        scores: ``(N, classes)``.
        labels: ``(N,)``.
    """
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        evaluator = Evaluator(cfg.test_evaluator)
    samples = [
        {'pred_score': score, 'gt_label': label}
        for score, label in zip(torch.from_numpy(scores), torch.from_numpy(labels).reshape(-1, 1), strict=True)
    ]
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def _judged(cfg: Config, scores: np.ndarray, labels: np.ndarray) -> float:
    key, metrics = cfg.get('primary_metric', 'accuracy/top1'), evaluate(cfg, scores, labels)
    if key not in metrics:
        raise ConfigError(f"primary_metric '{key}' is not among the metrics of test_evaluator, {sorted(metrics)}")
    return metrics[key]


def _training_set(cfg: Config) -> dict[str, Any]:
    """Return the training set with the test pipeline, each of the images that ``data_fraction`` has drawn once."""
    dataset = cfg.train_dataloader.dataset.to_dict()
    for leaf in leaf_datasets(dataset):
        leaf['pipeline'] = cfg.test_dataloader.dataset.to_dict()['pipeline']
        if isinstance(leaf.get('indices'), list):
            leaf['indices'] = sorted(set(leaf['indices']))
    return dataset


def _extract(
    extractor: FeatureExtractor, cfg: Config, dataset: dict[str, Any], name: str, progress: Callable[[int, int], None]
) -> Features:
    loader = cfg.test_dataloader
    return extractor.extract(dataset, name, loader.batch_size, loader.num_workers, progress)


def _progress_file(folder: Path, split: int) -> Callable[[int, int], None]:
    """Write each split's images as half of the job: the test split is not opened before all choices are made."""
    file: ProgressFile | None = None

    def progress(done: int, total: int) -> None:
        nonlocal file
        file = file or ProgressFile(folder, 2 * total, split * total)
        file.update(split * total + done)

    return progress


VALIDATION_SHARE = 0.2


def held_out(labels: np.ndarray, seed: int, share: float = VALIDATION_SHARE) -> np.ndarray:
    """Return a mask of the validation images: a random share of every class that leaves an image for training.

    Args:
        labels: ``(N,)``, the class of every training image.
        seed: of the draw.
        share: of each class. Defaults to a fifth.

    Raises:
        ConfigError: every class has one image.
    """
    mask = np.zeros(len(labels), dtype=bool)
    classes, counts = np.unique(labels, return_counts=True)
    spare = np.flatnonzero(np.isin(labels, classes[counts > 1]))
    if not len(spare):
        raise ConfigError(f'{len(labels)} training images of {len(classes)} classes: none is left for validation')
    mask[spare[stratified(labels[spare], share, np.random.default_rng(seed))]] = True
    return mask


def official(images: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Return a mask of the training images in the set's own validation split.

    Args:
        images: of the training set, see :class:`~xlearner_mm.transfer.probing.features.Features`.
        validation: of the validation split.

    Raises:
        ConfigError: none or all of them are in it.
    """
    mask = np.isin(images, validation)
    if mask.all() or not mask.any():
        raise ConfigError(
            f'{mask.sum()} of {len(mask)} training images are in the validation split, expected some but not all'
        )
    return mask


def neighbor_scores(
    training: Features,
    values: np.ndarray,
    classes: int,
    neighbors: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> np.ndarray:
    """Return the share of every class among the nearest neighbors, weighted by exp(cosine / temperature).

    The defaults are those of instance discrimination (Wu et al., CVPR 2018), common in self-supervised learning.

    Args:
        training: features with labels.
        values: ``(N, C)``, features to classify.
        classes: number of classes.
        neighbors: number of voting neighbors, at most all. Defaults to 20.
        temperature: of their weights. Defaults to 0.07.
        chunk: number of features compared at once. Defaults to 1024.

    Returns:
        ``(N, classes)``, rows of sum 1.
    """
    bank = normalize(torch.from_numpy(training.values), dim=1)
    labels = one_hot(torch.from_numpy(training.labels), classes).float()
    scores = []
    for queries in torch.from_numpy(values).split(chunk):
        cosine, nearest = (normalize(queries, dim=1) @ bank.T).topk(min(neighbors, len(bank)), dim=1)
        weights = (cosine / temperature).softmax(dim=1)
        scores.append((weights.unsqueeze(2) * labels[nearest]).sum(dim=1))
    return torch.cat(scores).numpy()
