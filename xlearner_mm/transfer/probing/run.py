"""The linear probe of one classification set, from its config to its test metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from xlearner_mm.transfer.fractions import leaf_datasets
from xlearner_mm.transfer.probing.classifier import save_classifier
from xlearner_mm.transfer.probing.features import FeatureExtractor, Features
from xlearner_mm.transfer.probing.logistic import Choice, choose, fit
from xlearner_mm.transfer.probing.neighbours import neighbour_scores
from xlearner_mm.transfer.probing.splits import held_out, official


def run_probe(cfg: Config, folder: Path, cache: Path, weights: str, probe: str, seed: int) -> dict[str, Any]:
    """Probe a frozen backbone; the test split is judged once, after everything has been chosen.

    The config is that of a stock mmpretrain training. Its ``primary_metric`` chooses the regularisation (default:
    top-1), on the split that its ``validation_split`` names among the set's own, or else on a seeded fifth of the
    training images. The classifier is then fitted to all of them.

    Args:
        cfg: the config, with its backbone.
        folder: gets the classifier as a checkpoint (``lbfgs``).
        cache: folder of the cached features.
        weights: what tells the backbone's weights apart, such as the checkpoint's SHA-256.
        probe: ``'lbfgs'`` or ``'knn'``.
        seed: of the validation split, and of a backbone that starts at random.

    Returns:
        ``metrics`` of the test split by the config's own evaluator, and how they came about.
    """
    MMLogger.get_current_instance().setLevel('WARNING')  # it tells of every parameter that is initialised
    extractor = FeatureExtractor(cfg.model.to_dict(), weights, cache, cfg.default_scope, seed)
    training = _extract(extractor, cfg, _with_test_pipeline(cfg), 'training images')
    classes = int(cfg.model.head.num_classes)
    result: dict[str, Any] = {'probe': probe, 'training_images': len(training)}
    if probe == 'knn':
        test = _extract(extractor, cfg, cfg.test_dataloader.dataset.to_dict(), 'test images')
        scores = neighbour_scores(training, test.values, classes)
    else:
        mask, split = _validation(cfg, extractor, training, seed)
        choice = _choose(cfg, training, mask, classes)
        fitted = fit(training, choice.best, classes)
        result |= {
            'validation': split,
            'validation_images': int(mask.sum()),
            'C': choice.best,
            'curve': [{'C': tried.strength, 'value': tried.value, 'loss': tried.loss} for tried in choice.curve],
            'iterations': fitted.iterations,
            'converged': fitted.converged,
        }
        # Where mmpretrain's inferencer reads the names of classes.
        names = extractor.classes_of(cfg.train_dataloader.dataset.to_dict())
        described = {**result, 'dataset_meta': {} if names is None else {'classes': names}}
        save_classifier(cfg.model.to_dict(), extractor.backbone(), fitted, folder, described)
        test = _extract(extractor, cfg, cfg.test_dataloader.dataset.to_dict(), 'test images')
        scores = fitted.scores(test.values)
    return result | {'test_images': len(test), 'metrics': evaluate(cfg, scores, test.labels)}


def evaluate(cfg: Config, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the metrics of a config's own evaluator.

    Args:
        cfg: the config, whose ``test_evaluator`` is used.
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


def _choose(cfg: Config, training: Features, mask: np.ndarray, classes: int) -> Choice:
    key = cfg.get('primary_metric', 'accuracy/top1')
    return choose(
        training[~mask], training[mask], classes, lambda scores, labels: evaluate(cfg, scores, labels)[key]
    )  # fmt: skip


def _validation(
    cfg: Config, extractor: FeatureExtractor, training: Features, seed: int
) -> tuple[np.ndarray, str]:  # fmt: skip
    split = cfg.get('validation_split')
    if not split:
        return held_out(training.labels, seed), f'a fifth of every class, seed {seed}'
    dataset = cfg.train_dataloader.dataset.to_dict() | {'split': split}
    dataset.pop('indices', None)
    return official(training.images, extractor.images_of(dataset)), f"the set's own split '{split}'"


def _with_test_pipeline(cfg: Config) -> dict[str, Any]:
    dataset = cfg.train_dataloader.dataset.to_dict()
    for leaf in leaf_datasets(dataset):
        leaf['pipeline'] = cfg.test_dataloader.dataset.to_dict()['pipeline']
    return dataset


def _extract(extractor: FeatureExtractor, cfg: Config, dataset: dict[str, Any], name: str) -> Features:
    loader = cfg.test_dataloader
    return extractor.extract(dataset, name, loader.batch_size, loader.num_workers)
