"""What transferred detectors and segmentors see in test images, by the stock libraries' own inference."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image
from torch import nn

from xlearner_mm.checkpoint import load_strictly, read_checkpoint, state_dict_of
from xlearner_mm.config.options import read_config
from xlearner_mm.registry import DATASETS, DefaultScope
from xlearner_mm.spread import spread


@dataclass(frozen=True)
class Boxes:
    """Objects of one image.

    Args:
        boxes: ``(N, 4)`` as x1, y1, x2, y2 in pixels.
        labels: ``(N,)``.
    """

    boxes: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """One test image, what is in it, and what was predicted.

    Args:
        image: ``(H, W, 3)``, RGB.
        truth: objects, or a label map ``(H, W)``.
        predicted: the same.
    """

    image: np.ndarray
    truth: Boxes | np.ndarray
    predicted: Boxes | np.ndarray


@dataclass(frozen=True)
class Predictions:
    """Predictions of one model.

    Args:
        classes: names in the order of the labels.
        items: one per image.
    """

    classes: tuple[str, ...]
    items: list[Prediction]


def detect(config: Path, checkpoint: Path, count: int = 4, threshold: float = 0.3) -> Predictions:
    """Run a trained mmdet detector on images spread evenly over its test set.

    Args:
        config: the training's config, as MMEngine writes it into the work directory.
        checkpoint: a checkpoint, or the work directory.
        count: how many images. Defaults to 4.
        threshold: least score of a box that is kept. Defaults to 0.3.

    Raises:
        CheckpointError: a checkpoint that is not of this detector.
    """
    from mmdet.apis import inference_detector, init_detector

    cfg = _read_config(config)
    with _unwarned():
        model = init_detector(cfg, palette='random', device='cpu')
    _load(model, checkpoint)
    dataset = _test_dataset(cfg)
    items = []
    for index in spread(len(dataset), count):
        info = dataset.get_data_info(index)
        found = inference_detector(model, info['img_path']).pred_instances.numpy()
        keep = found.scores >= threshold
        objects = [entry for entry in info['instances'] if not entry['ignore_flag']]
        truth = Boxes(
            np.array([entry['bbox'] for entry in objects]).reshape(-1, 4),
            np.array([entry['bbox_label'] for entry in objects], dtype=int),
        )
        items.append(Prediction(_read_image(info), truth, Boxes(found.bboxes[keep], found.labels[keep])))
    return Predictions(tuple(dataset.metainfo['classes']), items)


def segment(config: Path, checkpoint: Path, count: int = 4) -> Predictions:
    """Run a trained mmseg segmentor on images spread evenly over its test set.

    Args:
        config: the training's config, as MMEngine writes it into the work directory.
        checkpoint: a checkpoint, or the work directory.
        count: how many images. Defaults to 4.

    Raises:
        CheckpointError: a checkpoint that is not of this segmentor.
    """
    from mmseg.apis import inference_model, init_model

    cfg = _read_config(config)
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline  # where mmseg's inference looks for it
    with _unwarned():
        model = init_model(cfg, device='cpu')
    _load(model, checkpoint)
    dataset = _test_dataset(cfg)
    items = []
    for index in spread(len(dataset), count):
        info = dataset.get_data_info(index)
        labels = inference_model(model, info['img_path']).pred_sem_seg.data[0].numpy()
        truth = np.asarray(Image.open(info['seg_map_path']))
        items.append(Prediction(_read_image(info), truth, labels))
    return Predictions(tuple(dataset.metainfo['classes']), items)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Keep the libraries from warning of a model without weights: it gets them next."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def _read_config(config: Path) -> Config:
    cfg = read_config(str(config))
    cfg.model.backbone.init_cfg = None  # all weights come from the checkpoint
    return cfg


def _load(model: nn.Module, checkpoint: Path) -> None:
    load_strictly(model, state_dict_of(read_checkpoint(str(checkpoint))), f'checkpoint {checkpoint}')
    model.eval()


def _test_dataset(cfg: Config) -> Any:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return DATASETS.build(cfg.test_dataloader.dataset)


def _read_image(info: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(info['img_path']).convert('RGB'))
