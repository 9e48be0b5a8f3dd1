"""A model of either stage, as a checkpoint holds it."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape, glob

from mmengine.model import BaseModel

from xlearner_mm.checkpoint import (
    META_KEY,
    load_strictly,
    read_checkpoint,
    resolve_checkpoint,
    state_dict_of,
)
from xlearner_mm.config.options import load_config
from xlearner_mm.config.shared_sources import with_sources
from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.expansion import ExpansionLearner
from xlearner_mm.models.expansion.links import narrow_as
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.registry import MODELS, DefaultScope

# X-Learner++'s hints belong to the training: what was trained is looked at without them and their teachers.
_HINTS = 'hints'


@dataclass(frozen=True)
class TrainedModel:
    """A built model with its weights, in evaluation mode.

    Args:
        model: the model.
        checkpoint: the file.
        step: the training steps it has taken.
    """

    model: BaseModel
    checkpoint: str
    step: int


def load_trained(checkpoint: str, config: str | None = None, options: Sequence[str] = ()) -> TrainedModel:
    """Build the model of a training and load a checkpoint into it.

    The teachers of a squeeze are those it was distilled from, also where the config names other files by now.

    Args:
        checkpoint: of either stage, or the work directory whose last one is taken.
        config: the training's config. Defaults to None: the one that MMEngine wrote beside the checkpoint.
        options: ``KEY=VALUE`` overrides, as the training took them.

    Raises:
        CheckpointError: missing, damaged, of another model than the config's, or of a teacher that has changed or is
            missing.
        FileNotFoundError: no such config.
    """
    path = resolve_checkpoint(checkpoint)
    content = read_checkpoint(path)
    meta = content.get('meta') or {}
    cfg = load_config(config or config_beside(path), None, options, 'none')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        model = MODELS.build({key: value for key, value in with_sources(cfg)['model'].items() if key != _HINTS})
    state = {key: value for key, value in state_dict_of(content).items() if not key.startswith(f'{_HINTS}.')}
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
