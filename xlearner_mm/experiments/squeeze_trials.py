"""Settings of the squeeze, one changed at a time, as trainings that share their expansion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from xlearner_mm.experiments.variants import MINI, Family, Training, Variant, schedule_of

_STEPS = 450
_LONGEST = 675
"""Steps of as many FLOPs as 1.5 times the expansion; both stages have the same FLOPs a step."""
_LONGEST_WITH_LABELS = 580
"""The same for a squeeze whose heads have a loss on labels, whose steps cost more."""


# All that trials change, so that they stay what they were when the configs' defaults change.
_COMMON: Mapping[str, object] = {
    'model.loss._delete_': True,
    'model.loss.type': 'FitNetLoss',
    'model.loss.reduction': 'mean',
    'model.standardize._delete_': True,
    'model.standardize.type': 'ChannelStandardize',
    'model.guidance.type': 'GuidanceLayer',
    'model.start_from': 'cls',
    'model.supervise': 'all',
    'model.balance': 'source',
    'model.branch_weights': None,
    'model.drop_teachers': 0.0,
    'model.mix': None,
    'model.heads': None,
    'optim_wrapper.optimizer.lr': 3e-3,
    **schedule_of(_STEPS),
}


def _heads(loss: str, weight: float = 1.0, tasks: list[str] | None = None) -> dict[str, object]:
    return {'model.heads.loss': loss, 'model.heads.weight': weight, 'model.heads.tasks': tasks}


def _smaller_batches(divisor: int, lr: float) -> dict[str, object]:
    """Return a squeeze of as many images as the longest, in ``divisor`` times as many steps."""
    batches = dict.fromkeys(('digits', 'shapes', 'textures'), 24)
    batches |= dict.fromkeys(('det_shapes', 'det_digits', 'seg_things'), 16)
    sizes = {f'sources.{name}.batch_size': size // divisor for name, size in batches.items()}
    return {**sizes, 'optim_wrapper.optimizer.lr': lr, **schedule_of(divisor * _LONGEST)}


_TOGETHER = {**_heads('labels'), 'model.standardize': None}
_OF_CLS = {**_heads('labels', tasks=['cls']), 'model.standardize': None, **schedule_of(_LONGEST)}
_CHANGES: Mapping[str, Mapping[str, object]] = {
    'default': {},
    'longest': schedule_of(_LONGEST),
    'heads_labels': _heads('labels'),
    'heads_labels_light': _heads('labels', weight=0.3),
    'heads_outputs': _heads('outputs'),
    'plain_targets': {'model.standardize': None},
    'scalar_targets': {'model.standardize._delete_': True, 'model.standardize.type': 'ScalarStandardize'},
    'phi_s_targets': {'model.standardize._delete_': True, 'model.standardize.type': 'PHIStandardize'},
    'smooth_l1_cosine': {'model.loss._delete_': True, 'model.loss.type': 'SmoothL1CosineLoss'},
    'two_layers': {'model.guidance.type': 'TwoLayerGuidance'},
    'drop_teachers': {'model.drop_teachers': 0.5},
    'mixup': {'model.mix.type': 'Mixup', 'model.mix.alpha': 0.8},
    'cutmix': {'model.mix.type': 'CutMix', 'model.mix.alpha': 1.0},
    'from_average': {'model.start_from': 'average'},
    'from_det': {'model.start_from': 'det'},
    'from_scratch': {'model.start_from': None},
    'from_hard_sharing': {'model.start_from': None},  # and a checkpoint of the student, see below
    'high_lr': {'optim_wrapper.optimizer.lr': 6e-3},
    'low_lr': {'optim_wrapper.optimizer.lr': 1.5e-3},
    'together': _TOGETHER,
    'together_longest': {**_TOGETHER, **schedule_of(_LONGEST_WITH_LABELS)},
    'plain_longest': {'model.standardize': None, **schedule_of(_LONGEST)},
    'cls_labels_longest': _OF_CLS,
    'cls_labels_weighted': {**_OF_CLS, 'model.branch_weights.det': 2.0, 'model.branch_weights.seg': 2.0},
    'half_batches': _smaller_batches(2, lr=2.1e-3),
    'quarter_batches': _smaller_batches(4, lr=1.5e-3),
}


def options_of(changes: Mapping[str, object]) -> dict[str, object]:
    """Return all settings of a trial; a changed part replaces the common one with all its settings."""
    parts = {'.'.join(key.split('.')[:2]) for key in changes if key.startswith('model.')}
    kept = {key: value for key, value in _COMMON.items() if '.'.join(key.split('.')[:2]) not in parts}
    return kept | dict(changes)


def _trials() -> Family:
    expansion, squeeze = MINI.trainings['xlearner_seg_r18_expansion'], MINI.trainings['xlearner_seg_r18_squeeze']
    shared = replace(MINI.trainings['hard_sharing_seg_r18'], export=True, options=schedule_of(2 * _STEPS))
    trainings: dict[str, Training] = {expansion.name: expansion, shared.name: shared}
    for name, changes in _CHANGES.items():
        reads = dict(squeeze.reads)
        if name == 'from_hard_sharing':
            reads['model.student.init_cfg.type'] = 'Pretrained'
            reads['model.student.init_cfg.checkpoint'] = f'{{{shared.name}}}/backbone.pth'
        seconds = squeeze.seconds * float(str(changes.get('train_cfg.max_iters', _STEPS))) / _LONGEST
        trainings[name] = replace(squeeze, alias=name, seconds=seconds, reads=reads, options=options_of(changes))
    return Family(MINI.name, trainings, {name: Variant(name, name) for name in _CHANGES})


TRIALS = _trials()
"""Squeezes of X-Learner w/ seg on XL-Mini."""
