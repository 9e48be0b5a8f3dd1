"""Pooled features of a dataset's images, cached on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from xlearner_mm.atomic import atomic_write
from xlearner_mm.checkpoint import nothing_executed
from xlearner_mm.datasets.channel_order import loaded_order
from xlearner_mm.errors import ConfigError, message_line
from xlearner_mm.models.data_preprocessor import memory_format_of, pass_contiguous_where_misread, tell_loaded_order
from xlearner_mm.normalization import BGR, GRAY
from xlearner_mm.registry import DATASETS, MODELS, plain

_BAR = '{desc}: {percentage:3.0f}%|{bar:20}| [{n_fmt}/{total_fmt}] {remaining} left'


@dataclass(frozen=True)
class Features:
    """Features of the images of one split.

    Args:
        values: ``(N, C)`` float32, the last level averaged over the image.
        labels: ``(N,)``.
        images: unique name of each image: its path, or a hash of its pixels if it has none.
    """

    values: np.ndarray
    labels: np.ndarray
    images: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray) -> Features:
        return Features(self.values[rows], self.labels[rows], self.images[rows])

    def distinct(self) -> Features:
        """Return every image once: wrappers such as ``RepeatDataset`` repeat them."""
        return self[np.sort(np.unique(self.images, return_index=True)[1])]


class FeatureExtractor:
    """Extracts features with a frozen backbone and caches them on disk.

    Args:
        model: config of a stock classifier with the backbone and the data preprocessor.
        weights: identifier of the weights, such as the checkpoint's SHA-256.
        cache: folder of the cached features.
        scope: library of the model and of the datasets. Defaults to ``'mmpretrain'``.
        seed: of a randomly initialized backbone. Defaults to 0.
        memory_format: of the images: ``'contiguous'`` or ``'channels_last'``, for the same features up to rounding.
            Defaults to ``'contiguous'``.

    Raises:
        ConfigError: an unknown memory format.
    """

    def __init__(
        self,
        model: dict[str, Any],
        weights: str,
        cache: Path,
        scope: str = 'mmpretrain',
        seed: int = 0,
        memory_format: str = 'contiguous',
    ) -> None:
        self.memory_format = memory_format_of(memory_format)
        self.model, self.weights, self.cache, self.scope, self.seed = model, weights, cache, scope, seed
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self._network: tuple[nn.Module, nn.Module] | None = None
        self._order: str | None = None

    def extract(
        self,
        dataset: dict[str, Any],
        name: str,
        batch_size: int = 64,
        workers: int = 0,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Features:
        """Return the features of a dataset, from the cache if possible.

        Args:
            dataset: config of a stock dataset with its test pipeline.
            name: of the split, for the progress bar.
            batch_size: images per forward pass. Defaults to 64.
            workers: processes that read images. Defaults to 0.
            progress: called after every batch with the numbers of processed and of all images. Defaults to nothing.

        Raises:
            CheckpointError: the backbone was trained with another normalization.
            ConfigError: images with another channel order than those of an earlier call, or an unreadable one.
        """
        with DefaultScope.overwrite_default_scope(self.scope):
            built = DATASETS.build(dataset)
            self._check_order(built, name)
            images = _images_of(built)
            path = self.cache / f'{self._key(dataset, images)}.npz'
            if path.is_file():
                kept = np.load(path, allow_pickle=False)
                print(f'{name}: cached features of {len(built)} images ({path})', flush=True)
                return Features(kept['values'], kept['labels'], kept['images'])
            values = self._run(built, name, batch_size, workers, progress)
        labels = np.array([built.get_data_info(index)['gt_label'] for index in range(len(built))], dtype=np.int64)
        features = Features(values, labels, np.array([image for image, _ in images]))
        with atomic_write(path, f'.{os.getpid()}.npz') as partial:  # NumPy adds .npz to other names
            np.savez(partial, values=features.values, labels=features.labels, images=features.images)
        return features

    def backbone(self) -> nn.Module:
        """Return the backbone with its weights."""
        with DefaultScope.overwrite_default_scope(self.scope):
            return self._build()[0]

    def images_of(self, dataset: dict[str, Any]) -> np.ndarray:
        """Return the unique names of a dataset's images, as :class:`Features` has them."""
        with DefaultScope.overwrite_default_scope(self.scope):
            return np.array([image for image, _ in _images_of(DATASETS.build({**dataset, 'pipeline': []}))])

    def classes_of(self, dataset: dict[str, Any]) -> list[str] | None:
        """Return the names of a dataset's classes; None if it has none."""
        with DefaultScope.overwrite_default_scope(self.scope):
            classes = DATASETS.build(dataset).metainfo.get('classes')
        return None if classes is None else list(classes)

    def _check_order(self, dataset: Any, name: str) -> None:
        order = loaded_order(dataset, name)
        if self._order is not None and GRAY not in (order, self._order) and order != self._order:
            raise ConfigError(
                f'{name} are loaded in {order} channel order, but others of this probe in {self._order} order, and all '
                'share one data preprocessor: load them in the same order'
            )
        self._order = order if self._order in (None, GRAY) else self._order

    def _key(self, dataset: dict[str, Any], images: list[tuple[str, str]]) -> str:
        backbone = {key: value for key, value in self.model['backbone'].items() if key != 'init_cfg'}
        rounding = [] if self.memory_format is torch.contiguous_format else [str(self.memory_format)]
        content = [self.weights, *rounding, plain([backbone, self.model['data_preprocessor'], dataset]), images]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]

    @torch.inference_mode()
    def _run(
        self, dataset: Any, name: str, batch_size: int, workers: int, progress: Callable[[int, int], None]
    ) -> np.ndarray:
        loader = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=pseudo_collate)
        backbone, preprocessor = self._build()
        pooled: list[Tensor] = []
        for batch in tqdm(_batches(loader, name), name, len(loader), bar_format=_BAR, mininterval=1.0):
            images = preprocessor(batch, training=False)['inputs'].contiguous(memory_format=self.memory_format)
            levels = backbone(images)
            pooled.append(levels[-1].float().mean(dim=(2, 3)).cpu())
            progress(sum(map(len, pooled)), len(dataset))
        return torch.cat(pooled).numpy()

    def _build(self) -> tuple[nn.Module, nn.Module]:
        if self._network is None:
            torch.manual_seed(self.seed)  # the random start must not depend on which features are cached
            preprocessor, backbone = (MODELS.build(self.model[part]) for part in ('data_preprocessor', 'backbone'))
            tell_loaded_order(preprocessor, self._order or BGR)
            # Inside a network, as in a training, the backbone refuses another normalization than its own.
            network = nn.Module()
            network.data_preprocessor, network.backbone = preprocessor, backbone
            pass_contiguous_where_misread(network)
            with nothing_executed():
                backbone.init_weights()
            network.eval().to(self.device)
            self._network = backbone, preprocessor
        return self._network


def _batches(loader: DataLoader, name: str) -> Iterator[Any]:
    batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (AssertionError, OSError) as error:  # what stock pipelines raise on a bad or missing image
            fix = 'replace the file, or remove it from the annotations'
            raise ConfigError(f'{name}: {message_line(error)}; {fix}') from error
        yield batch


def _images_of(dataset: Any) -> list[tuple[str, str]]:
    """Return unique name and state of every image; a replaced file has another state."""
    found = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path = info.get('img_path')
        if path is None:
            pixels = hashlib.sha256(np.ascontiguousarray(info['img']).tobytes()).hexdigest()
            found.append((pixels, str(info['gt_label'])))
        else:
            found.append((str(path), f'{info["gt_label"]} {_state(path)}'))
    return found


def _state(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:  # not in a local file system
        return ''
    return f'{status.st_size} {status.st_mtime_ns}'
