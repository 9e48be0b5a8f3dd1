"""Multinomial logistic regression on features, its regularisation chosen on a validation split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from xlearner_mm.transfer.probing.features import Features

Metric = Callable[[np.ndarray, np.ndarray], float]
"""From scores ``(N, classes)`` and labels ``(N,)`` to percent."""

# Inverse strengths of the penalty, as powers of ten: a coarse grid, then halved steps around its best.
_COARSE = (-6.0, -4.0, -2.0, 0.0, 2.0)
_STEPS = (1.0, 0.5, 0.25)
_EPS = 1e-6
# Instead of 0, the probability of a class that training has no image of: its loss stays finite.
_LEAST = 1e-12


@dataclass(frozen=True)
class Standardiser:
    """Brings every channel to mean 0 and variance 1, as ``ClsBatchNormNeck`` does.

    Args:
        mean: ``(C,)``.
        variance: ``(C,)``.
    """

    mean: np.ndarray
    variance: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return standardised features ``(N, C)``."""
        return (values - self.mean) / np.sqrt(self.variance + _EPS)

    @classmethod
    def of(cls, values: np.ndarray) -> Standardiser:
        """Return that of these features ``(N, C)``."""
        return cls(values.mean(axis=0), values.var(axis=0))


@dataclass(frozen=True)
class Fitted:
    """A linear classifier on standardised features.

    Args:
        standardiser: what comes before it.
        weight: ``(classes, C)``.
        bias: ``(classes,)``; minus infinity for a class without training images.
        iterations: of L-BFGS.
        converged: whether they were enough.
    """

    standardiser: Standardiser
    weight: np.ndarray
    bias: np.ndarray
    iterations: int
    converged: bool

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Return the classes' probabilities ``(N, classes)`` for features ``(N, C)``."""
        logits = self.standardiser(values) @ self.weight.T + self.bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


class Tried(NamedTuple):
    """A penalty, and what it gave on the validation split.

    Args:
        strength: C.
        value: the metric, in percent.
        loss: mean cross-entropy, in nats.
    """

    strength: float
    value: float
    loss: float


@dataclass
class Choice:
    """How the regularisation was chosen.

    Args:
        curve: everything tried, in order. Defaults to nothing.
    """

    curve: list[Tried] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The C of the best metric; of equals, which few validation images make common, of the least loss."""
        return max(self.curve, key=lambda tried: (tried.value, -tried.loss)).strength


def choose(training: Features, validation: Features, classes: int, metric: Metric, max_iter: int = 200) -> Choice:
    """Choose the penalty by fitting ``training`` and judging ``validation``.

    Args:
        training: what is fitted.
        validation: what it is judged by.
        classes: number of classes.
        metric: in percent, higher is better.
        max_iter: of L-BFGS; weak penalties that take longer do not win for it. Defaults to 200.
    """
    choice = Choice()

    def attempt(power: float) -> None:
        strength = 10.0**power
        if any(np.isclose(strength, tried.strength) for tried in choice.curve):
            return
        scores = fit(training, strength, classes, max_iter).scores(validation.values)
        value = metric(scores, validation.labels)
        choice.curve.append(Tried(strength, value, _cross_entropy(scores, validation.labels)))
        most = len(_COARSE) + 2 * len(_STEPS)
        print(f'C={strength:.3g}: {value:.2f} on the validation split [{len(choice.curve)}/{most}]', flush=True)

    for power in _COARSE:
        attempt(power)
    for step in _STEPS:
        around = float(np.log10(choice.best))
        for power in (around - step, around + step):
            attempt(power)
    return choice


def fit(features: Features, strength: float, classes: int, max_iter: int = 1000) -> Fitted:
    """Fit multinomial logistic regression by L-BFGS.

    Args:
        features: what is fitted.
        strength: scikit-learn's ``C``, the inverse of the penalty.
        classes: number of classes; those without images are never predicted.
        max_iter: of L-BFGS. Defaults to 1000.

    Raises:
        ConfigError: fewer than two classes have images.
    """
    standardiser = Standardiser.of(features.values)
    regression = LogisticRegression(C=strength, max_iter=max_iter)
    regression.fit(standardiser(features.values), features.labels)
    weight, bias = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:  # scikit-learn keeps the difference of the two alone
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    iterations = int(np.max(regression.n_iter_))
    return Fitted(
        standardiser,
        _spread(weight, regression.classes_, classes, 0.0),
        _spread(bias, regression.classes_, classes, -np.inf),
        iterations,
        iterations < max_iter,
    )


def _cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_label, _LEAST)).mean())


def _spread(values: np.ndarray, seen: Sequence[int], classes: int, missing: float) -> np.ndarray:
    spread = np.full((classes, *values.shape[1:]), missing, dtype=np.float32)
    spread[np.asarray(seen)] = values
    return spread
