"""Features as colours: three principal components as red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.decomposition import PCA
from torch import Tensor

# The most extreme positions would leave all others grey.
_PERCENTILES = (1, 99)


class FeatureColours:
    """Colours of feature maps that can be compared with each other: same colour, same feature.

    Args:
        features: maps ``(C, H_k, W_k)`` whose positions the components and their ranges are of.
    """

    def __init__(self, features: Sequence[Tensor]) -> None:
        samples = np.concatenate([_positions(feature) for feature in features])
        with np.errstate(invalid='ignore'):  # features that are the same everywhere have no variance to share out
            self._pca = PCA(n_components=3, svd_solver='covariance_eigh').fit(samples)
        self._low, self._high = np.percentile(self._pca.transform(samples), _PERCENTILES, axis=0)

    def __call__(self, feature: Tensor) -> np.ndarray:
        """Return ``(H, W, 3)`` in [0, 1] for a feature map ``(C, H, W)``."""
        components = self._pca.transform(_positions(feature))
        scaled = (components - self._low) / np.maximum(self._high - self._low, 1e-12)
        return scaled.clip(0, 1).reshape(*feature.shape[-2:], 3)


def _positions(feature: Tensor) -> np.ndarray:
    return feature.flatten(1).T.double().cpu().numpy()
