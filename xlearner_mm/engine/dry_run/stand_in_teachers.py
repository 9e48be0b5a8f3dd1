"""Random checkpoints in place of those that an earlier stage has yet to write."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config

from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.models.expansion import ExpansionLearner
from xlearner_mm.plain_data import plain
from xlearner_mm.registry import MODELS, names_a
from xlearner_mm.transfer.checkpoint import CheckpointError, resolve_checkpoint


def stand_in_teachers(cfg: Config, folder: str) -> list[str]:
    """Give every frozen teacher whose checkpoint is not there yet a random one, and return what was replaced.

    Args:
        cfg: the training's config, changed in place.
        folder: where the checkpoints are written.
    """
    model = cfg.get('model', {})
    squeezed = 'teacher' in model
    learner = model.teacher.model if squeezed else model
    others = model.get('further_teachers' if squeezed else 'hints') or {}
    absent = {name: settings for name, settings in others.items() if _is_absent(settings)}
    if squeezed and _is_absent(model.teacher):
        absent = {'teacher': model.teacher, **absent}
    if not absent:
        return []
    built = MODELS.build({key: value for key, value in learner.items() if key != 'hints'})
    replaced = []
    for name, settings in absent.items():
        content = _content(settings, built)
        replaced.append(f'{settings.checkpoint} (of {name})')
        settings.checkpoint = osp.join(folder, f'{name}.pth')
        torch.save(content, settings.checkpoint)
    return replaced


def _is_absent(settings: Mapping[str, Any]) -> bool:
    try:
        resolve_checkpoint(settings['checkpoint'])
    except CheckpointError:
        return True
    return False


def _content(settings: Mapping[str, Any], learner: Any) -> dict[str, Any]:
    """A checkpoint as the stage that is missing would write it."""
    if names_a(settings['model'], ExpansionLearner, MODELS):
        other = MODELS.build({key: value for key, value in settings['model'].items() if key != 'hints'})
        return {'state_dict': other.state_dict(), 'meta': {'xlearner': other.describe()}}
    backbone = MODELS.build(without_library_defaults(settings['model']))
    state = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    return {'state_dict': state, 'meta': {'normalisation': plain(learner.normalisation)}}
