"""Weighted nearest neighbours on features: a quick look that chooses and trains nothing."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize, one_hot

from xlearner_mm.transfer.probing.features import Features


def neighbour_scores(
    training: Features,
    values: np.ndarray,
    classes: int,
    neighbours: int = 20,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> np.ndarray:
    """Return the share of every class among the neighbours, each weighing exp(cosine / temperature).

    Settings are those of instance discrimination (Wu et al., CVPR 2018), as self-supervised work reports them.

    Args:
        training: features with labels.
        values: ``(N, C)``, features to classify.
        classes: number of classes.
        neighbours: how many vote. Defaults to 20, at most all.
        temperature: of their weights. Defaults to 0.07.
        chunk: how many are compared at once. Defaults to 1024.

    Returns:
        ``(N, classes)``, rows of sum 1.
    """
    bank = normalize(torch.from_numpy(training.values), dim=1)
    labels = one_hot(torch.from_numpy(training.labels), classes).float()
    scores = []
    for queries in torch.from_numpy(values).split(chunk):
        cosine, nearest = (normalize(queries, dim=1) @ bank.T).topk(min(neighbours, len(bank)), dim=1)
        weights = (cosine / temperature).softmax(dim=1)
        scores.append((weights.unsqueeze(2) * labels[nearest]).sum(dim=1))
    return torch.cat(scores).numpy()
