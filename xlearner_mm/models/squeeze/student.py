"""The student of the squeeze stage, and its initial weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from xlearner_mm.checkpoint import BRANCHES, load_backbone, read_checkpoint, recorded_normalization
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.models.distillation.teachers import unreached_parameters
from xlearner_mm.models.expansion.branch import StagesError, load_pretrained, pretrained_of, stages_of
from xlearner_mm.models.recomputation import recompute_as_plain
from xlearner_mm.normalization import Normalization
from xlearner_mm.registry import MODELS

AVERAGE = 'average'
"""The start of a student from the mean of all branches' weights."""


def build_student(
    config: Mapping[str, Any], start_from: str | None, normalization: Normalization
) -> tuple[nn.Module, Mapping[str, Any] | None]:
    """Build a student.

    Args:
        config: of any registered backbone; stock ones with their ``_scope_``.
        start_from: the branch that it is to start from, or None.
        normalization: how the sources' images are normalized.

    Returns:
        The student, and the checkpoint that :func:`load_student` is to start it from, if any. An
        :class:`~xlearner_mm.models.backbones.XLearnerResNet` loads its own.

    Raises:
        ConfigError: both ``start_from`` and a checkpoint are given.
        CheckpointError: its checkpoint is missing, damaged, or of another input normalization.
    """
    student = MODELS.build(without_library_defaults(config))
    recompute_as_plain(student)
    own, pretrained = getattr(student, 'pretrained_cfg', None), pretrained_of(student)
    start = own or pretrained
    if start is None:
        return student, None
    if start_from is not None:
        raise ConfigError(
            f"FitNetDistiller: the student is to start from the branch '{start_from}' and from {start['checkpoint']}; "
            'give start_from or its init_cfg, not both'
        )
    _check_normalization(start['checkpoint'], normalization)
    if own is None:
        # The stock loader only warns of what the checkpoint leaves at random.
        student.init_cfg = None
    return student, pretrained


def _check_normalization(path: str, expected: Normalization) -> None:
    recorded = recorded_normalization(read_checkpoint(path).get('meta') or {})
    if recorded is not None:
        fix = 'both see the same images: make them agree'
        recorded.check(expected, f'student: {path}', "the teacher's sources have", fix, CheckpointError)


def check_all_trains(student: nn.Module, levels: Sequence[int]) -> None:
    """Refuse a student with parts that no loss trains.

    What a backbone carries behind its last output, and cannot be built without (a classifier's last
    convolution in MobileNetV2), is frozen instead.

    Args:
        student: as it was built.
        levels: the levels that are compared with teachers.

    Raises:
        ConfigError: stages or output norms that no compared level trains; names them.
    """
    unreached = unreached_parameters(student, levels, 'student')
    if not unreached:
        return
    names = sorted({name.split('.')[0] for name in unreached})
    last = max(getattr(student, 'out_indices', levels))
    if max(levels) < last or _has_known_stages(student):
        raise ConfigError(
            f'FitNetDistiller: levels {tuple(levels)} leave {names} of the student untrained: they would be exported '
            'at their random start; distil the levels that need them, or build the student without them (out_indices; '
            'of a ResNet also num_stages, strides and dilations)'
        )
    for parameter in unreached.values():
        parameter.requires_grad = False
    print_log(f'student: {names} are behind its last output, and are not trained', logger='current')


def _has_known_stages(student: nn.Module) -> bool:
    try:
        stages_of(student)
    except StagesError:
        return False
    return True


def start_from_branches(student: nn.Module, checkpoint: str, branches: Sequence[str]) -> None:
    """Start a student from a branch, or from the mean of the weights and statistics of several.

    Args:
        student: the student.
        checkpoint: of the expansion stage.
        branches: their names.

    Raises:
        CheckpointError: a branch is of another architecture than the student.
    """
    states = []
    for branch in branches:
        load_backbone(student, checkpoint, f'{BRANCHES}{branch}.backbone')
        states.append({key: value.clone() for key, value in student.state_dict().items()})
    if len(states) > 1:
        of_key = {
            key: [state[key] for state in states] for key, value in states[0].items() if value.is_floating_point()
        }
        student.load_state_dict({key: torch.stack(own).mean(0) for key, own in of_key.items()}, strict=False)


def load_student(student: nn.Module, pretrained: Mapping[str, Any]) -> None:
    """Start a stock backbone from a checkpoint, strictly.

    Raises:
        CheckpointError: it leaves anything at its random start, norms of further outputs excepted.
    """
    try:
        fresh = stages_of(student).may_start_fresh()
    except StagesError:
        fresh = ()
    load_pretrained(student, pretrained, fresh)
