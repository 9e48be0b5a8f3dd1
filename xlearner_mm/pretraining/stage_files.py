"""The config files of both stages as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xlearner_mm.config.text import Choice, Name, assignment, comment
from xlearner_mm.pretraining.choices import SHORT, Backbone, Device
from xlearner_mm.pretraining.lengths import Lengths, validations
from xlearner_mm.pretraining.source_file import HEAD, source_variable

if TYPE_CHECKING:
    from xlearner_mm.layouts.layout import Layout

EXPANSION, SQUEEZE = 'expansion', 'squeeze'
STAGES = 'stages'
"""Folder of their work directories."""


def expansion_choices(
    tasks: Sequence[str],
    backbone: Backbone,
    reason: str,
    device: Device,
    lengths: Lengths,
    workers: int,
    seed: int,
) -> list[Choice]:
    """Return the choices of the expansion stage.

    Args:
        tasks: of its branches.
        backbone: of every branch.
        reason: for the backbone.
        device: that trains.
        lengths: of the stages.
        workers: processes that load images.
        seed: of the training.
    """
    steps = lengths.expansion
    links = (
        Choice(
            'reconciliation', {'topology': 'lower'}, "links from lower levels of the other branches, the paper's best"
        )
        if len(tasks) > 1
        else Choice('reconciliation', {'topology': 'none'}, 'one task has one branch: there is nothing to link')
    )
    start = '; its residual blocks do not start at zero, for a short training'
    return [
        Choice(
            'branch',
            backbone.settings(steps),
            f'a ResNet-{backbone.depth} of base width {backbone.width}, {reason}{start if steps < SHORT else ""}',
        ),
        _memory_format(backbone, device),
        links,
        Choice('max_iters', steps, lengths.reason),
        *_rate_choices(backbone, steps),
        _precision(device),
        *_interval_choices(steps),
        Choice('num_workers', workers, 'processes that load images'),
        Choice('seed', seed, 'of weights, order of images and augmentations; 0 unless asked for'),
    ]


def _memory_format(backbone: Backbone, device: Device) -> Choice:
    if device.kind == 'cpu' and backbone.width < 64:
        return Choice('memory_format', 'channels_last', 'narrow convolutions on a CPU take about 0.8 of the time in it')
    return Choice('memory_format', 'contiguous', "the stock one; 'channels_last' may be faster: try some steps of each")


def _rate_choices(backbone: Backbone, steps: int) -> list[Choice]:
    rate = 3e-3 if backbone.width < 64 else 1e-3
    return [
        Choice('lr', rate, f"AdamW's learning rate, for a base width of {backbone.width}; then a cosine to 0"),
        Choice('warmup', max(1, min(1000, steps // 10)), 'a tenth of the steps, at most 1,000'),
    ]


def _interval_choices(steps: int) -> list[Choice]:
    count = validations(steps)
    return [
        Choice('val_interval', -(-steps // count), f'steps between validations: {count} in all'),
        Choice('save_interval', max(50, steps // 20), 'steps between checkpoints: what an interruption may cost'),
        Choice('log_interval', max(1, min(50, steps // 20)), 'steps between lines of the log'),
    ]


def _precision(device: Device) -> Choice:
    if device.kind == 'cpu':
        return Choice('precision', {'type': 'OptimWrapper'}, '32 bits: a CPU is seldom faster in 16')
    return Choice(
        'precision',
        {'type': 'AmpOptimWrapper', 'loss_scale': 'dynamic'},
        "mixed precision, in float16: not all of mmcv's operators have bfloat16",
    )


_OPTIMIZATION = """optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
    **precision,
)
"""
_SCHEDULE = """param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=max_iters, T_max=max_iters - warmup),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
default_hooks = dict(checkpoint=dict(interval=save_interval), logger=dict(interval=log_interval))
"""


def expansion_text(layouts: Sequence[Layout], choices: Sequence[Choice], out: Path) -> str:
    """Return the config of the expansion stage, or of the only stage of one task.

    Args:
        layouts: of the sources.
        choices: of :func:`expansion_choices`.
        out: folder of the pretraining.
    """
    names = [layout.name for layout in layouts]
    tasks = list(dict.fromkeys(layout.task for layout in layouts))
    bases = [
        *(f'./sources/{name}.py' for name in names),
        'xlearner_mm::_base_/multi_source_loaders.py',
        'xlearner_mm::_base_/schedules/per_branch.py',
        'xlearner_mm::_base_/multi_source_runtime.py',
    ]
    sources = {name: Name(f'_base_.{source_variable(name)}') for name in names}
    model = {
        'type': 'ExpansionLearner',
        'memory_format': Name('memory_format'),
        'backbone': {
            'type': 'XLearnerExpandedBackbone',
            'branches': {task: Name('branch') for task in tasks},
            'reconciliation': Name('reconciliation'),
        },
    }
    title = f'Expansion stage: {", ".join(tasks)}' if len(tasks) > 1 else f'The only stage: {tasks[0]}'
    return '\n'.join(
        [
            comment(f'{title} from {", ".join(names)}'),
            f'#   python tools/train.py {out / (EXPANSION + ".py")}',
            HEAD + assignment('_base_', bases),
            assignment('work_dir', str(out / STAGES / EXPANSION)),
            assignment('sources', sources),
            '',
            *(choice.text() for choice in choices),
            '',
            assignment('model', model),
            _OPTIMIZATION + _SCHEDULE + "val_cfg = dict(type='MultiSourceValLoop')",
            "test_cfg = dict(type='MultiSourceTestLoop')",
            'train_dataloader = dict(num_workers=num_workers, persistent_workers=num_workers > 0)',
            'randomness = dict(seed=seed)',
            'del branch, memory_format, reconciliation, warmup, precision',
            'del val_interval, save_interval, log_interval, num_workers, seed',
            '',
        ]
    )


def squeeze_choices(tasks: Sequence[str], backbone: Backbone, device: Device, lengths: Lengths) -> list[Choice]:
    """Return the choices of the squeeze stage; arguments as of :func:`expansion_choices`."""
    steps = lengths.squeeze
    start = 'cls' if 'cls' in tasks else tasks[0]
    return [
        Choice('student', backbone.settings(steps), 'the architecture of a branch, so that it can start as one'),
        Choice(
            'start_from', start, 'the branch whose weights the student starts from: it keeps most of the metrics so'
        ),
        _memory_format(backbone, device),
        Choice(
            'max_iters',
            steps,
            "half as many again as a short expansion's, up to 3,000; 40% of a long one's, as in the slides",
        ),
        *_rate_choices(backbone, steps),
        *_interval_choices(steps),
    ]


def squeeze_text(names: Sequence[str], choices: Sequence[Choice], out: Path) -> str:
    """Return the config of the squeeze stage.

    Args:
        names: of the sources.
        choices: of :func:`squeeze_choices`.
        out: folder of the pretraining.
    """
    model = {
        '_delete_': True,
        'type': 'FitNetDistiller',
        'memory_format': Name('memory_format'),
        'teacher': {'model': Name('_base_.model'), 'checkpoint': Name('teacher_checkpoint')},
        'student': Name('student'),
        'start_from': Name('start_from'),
        'levels': (0, 1, 2, 3),
        'supervise': 'all',
        'loss': {'type': 'FitNetLoss', 'reduction': 'mean'},
        'standardize': {'type': 'ChannelStandardize'},
    }
    return '\n'.join(
        [
            comment(f'Squeeze stage: all branches of expansion.py into one plain ResNet, on {", ".join(names)}'),
            f'#   python tools/train.py {out / (SQUEEZE + ".py")}',
            HEAD + assignment('_base_', ['./expansion.py', 'xlearner_mm::_base_/squeeze_runtime.py']),
            assignment('work_dir', str(out / STAGES / SQUEEZE)),
            assignment('teacher_checkpoint', str(out / STAGES / EXPANSION)),
            '',
            *(choice.text() for choice in choices),
            '',
            assignment('model', model),
            'custom_hooks = _base_.squeeze_hooks',
            'optim_wrapper = dict(optimizer=dict(lr=lr))',
            _SCHEDULE + 'del student, start_from, memory_format, warmup, val_interval, save_interval, log_interval',
            '',
        ]
    )
