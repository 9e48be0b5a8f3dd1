"""A trained model of either stage, and images as it sees them."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape, glob
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import BaseModel
from torch import Tensor

from xlearner_mm.checkpoint import META_KEY, load_strictly, read_checkpoint, resolve_checkpoint, state_dict_of
from xlearner_mm.config.options import load_config
from xlearner_mm.errors import CheckpointError, SourceError
from xlearner_mm.models.data_preprocessor import source_order
from xlearner_mm.models.distillation.teachers import as_teacher, without_hints
from xlearner_mm.models.expansion import ExpansionLearner
from xlearner_mm.models.expansion.links import narrow_as
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.normalization import BGR
from xlearner_mm.registry import DATASETS, MODELS, DefaultScope
from xlearner_mm.sources import Source, with_sources
from xlearner_mm.spread import spread


@dataclass(frozen=True)
class TrainedModel:
    """A built model with its weights, in eval mode.

    Args:
        model: the model.
        checkpoint: the file.
        step: number of its training steps.
    """

    model: BaseModel
    checkpoint: str
    step: int


def load_trained(checkpoint: str, config: str | None = None, options: Sequence[str] = ()) -> TrainedModel:
    """Build the model of a training and load a checkpoint into it.

    A squeeze gets the teachers that it was distilled from, even if the config names other files now.

    Args:
        checkpoint: of either stage, or the work directory whose last one is taken.
        config: the training's config. Defaults to None: the one that MMEngine wrote beside the checkpoint.
        options: ``KEY=VALUE`` overrides of the config.

    Raises:
        CheckpointError: missing, damaged, of another model, or its teacher has changed or is missing.
        FileNotFoundError: no such config.
    """
    path = resolve_checkpoint(checkpoint)
    content = read_checkpoint(path)
    meta = content.get('meta') or {}
    cfg = load_config(config or config_beside(path), None, options, 'none')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        model = MODELS.build(as_teacher(with_sources(cfg)['model']))
    state = without_hints(state_dict_of(content))
    if isinstance(model, ExpansionLearner):
        narrow_as(model.backbone, content)
    load_strictly(model, state, f'checkpoint {path}')
    if isinstance(model, FitNetDistiller) and META_KEY in meta:
        model.check_resumed(meta[META_KEY])
    model.eval()
    return TrainedModel(model, path, int(meta.get('iter', 0)))


def config_beside(checkpoint: str) -> str:
    """Return the config that MMEngine wrote into the folder of a checkpoint.

    Raises:
        CheckpointError: there is none, or several.
    """
    found = glob(osp.join(escape(osp.dirname(checkpoint)), '*.py'))
    if len(found) != 1:
        raise CheckpointError(
            f'beside checkpoint {checkpoint} there is {"no config" if not found else "more than one config"}: '
            "name the training's by --config"
        )
    return found[0]


@dataclass(frozen=True)
class SampleImage:
    """One image.

    Args:
        label: its name in the figure.
        picture: ``(H, W, 3)``, RGB, at the model's input size.
        inputs: ``(1, 3, H', W')``, normalized and padded at the right and the bottom.
    """

    label: str
    picture: np.ndarray
    inputs: Tensor


def images_of_sources(model: BaseModel, names: Sequence[str] = (), count: int = 1) -> list[SampleImage]:
    """Return validation images, spread evenly over each source's.

    Args:
        model: of either stage.
        names: the sources. Defaults to (): all of the model's.
        count: images of every source. Defaults to 1.

    Raises:
        SourceError: an unknown source, or one whose validation images cannot be read.
    """
    images = []
    for name in names or list(model.sources):
        dataset = _validation_set(_source(model, name))
        for index in spread(len(dataset), count):
            images.append(_sample(model, name, name, dataset[index]))
    return images


def images_of_files(model: BaseModel, paths: Sequence[Path], source: str | None = None) -> list[SampleImage]:
    """Return images from files, through the validation pipeline of a source.

    Args:
        model: of either stage.
        paths: the image files.
        source: whose pipeline. Defaults to None: the model's first source's.

    Raises:
        SourceError: an unknown source, or one whose validation set cannot be read.
        FileNotFoundError: a file does not exist.
    """
    name = source or next(iter(model.sources))
    pipeline = _validation_set(_source(model, name)).pipeline.transforms
    # A file has no labels.
    pipeline = Compose([step for step in pipeline if 'LoadAnnotations' not in type(step).__name__])
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f'image {path} does not exist')
    return [_sample(model, name, path.stem, pipeline({'img_path': str(path), 'img_id': 0})) for path in paths]


def _source(model: BaseModel, name: str) -> Source:
    if name not in model.sources:
        raise SourceError(f"unknown source '{name}'; the sources are {list(model.sources)}")
    return model.sources[name]


def _validation_set(source: Source) -> Any:
    if source.val_dataloader is None:
        raise SourceError(f"source '{source.name}' has no val_dataloader: name image files by --images")
    try:
        dataset = DATASETS.build(dict(source.val_dataloader['dataset']))
        dataset.full_init()
    except Exception as error:  # stock datasets raise anything
        raise SourceError(
            f"source '{source.name}': its validation images cannot be read: {error}; correct its data_root, or name "
            'image files by --images'
        ) from error
    return dataset


def _sample(model: BaseModel, source: str, label: str, item: Mapping[str, Any]) -> SampleImage:
    # Normalization is the data preprocessor's.
    loaded = item['inputs'].clamp(0, 255).byte()
    picture = loaded.flip(0) if source_order(model.sources[source]) == BGR else loaded
    inputs = model.data_preprocessor({source: pseudo_collate([item])}, False)['inputs'][source]
    return SampleImage(label, picture.expand(3, -1, -1).permute(1, 2, 0).numpy(), inputs)
