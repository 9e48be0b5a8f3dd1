"""Predictions of transferred detectors and segmentors on test images, by the stock libraries' own inference."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image, ImageOps
from torch import nn

from xlearner_mm.checkpoint import load_strictly, read_checkpoint, state_dict_of
from xlearner_mm.config.options import read_config
from xlearner_mm.registry import DATASETS, DefaultScope
from xlearner_mm.report.figure import Boxes, Prediction, Predictions
from xlearner_mm.spread import spread


def detect(config: Path, checkpoint: Path, count: int = 4, threshold: float = 0.3) -> Predictions:
    """Run a trained mmdet detector on images spread evenly over its test set.

    Args:
        config: the training's config, as MMEngine writes it into the work directory.
        checkpoint: a checkpoint, or the work directory.
        count: number of images. Defaults to 4.
        threshold: minimum score of a box. Defaults to 0.3.

    Raises:
        CheckpointError: a checkpoint of another model.
    """
    from mmdet.apis import inference_detector, init_detector

    cfg = _read_config(config)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about missing weights, which are loaded next
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
        count: number of images. Defaults to 4.

    Raises:
        CheckpointError: a checkpoint of another model.
    """
    from mmseg.apis import inference_model, init_model

    cfg = _read_config(config)
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline  # read by mmseg's inference
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about missing weights, which are loaded next
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
    # As the stock loader does, so that boxes fit.
    return np.asarray(ImageOps.exif_transpose(Image.open(info['img_path'])).convert('RGB'))
