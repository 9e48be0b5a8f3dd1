"""The trainings of both stages that are killed: tiny, and with everything that has a state or draws at random."""

import random

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub

from xlearner_mm.engine import XLearnerRunner
from xlearner_mm.registry import DATASETS, METRICS, MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet

from ..engine.tiny_runner import TinyImageDataset, image_sources, tiny_runner
from ..models.expansion.reference import randomise

STAGES = ('expansion', 'squeeze')
STEPS = 8
VALIDATION = dict(
    val_dataloader=dict(
        batch_size=8,
        num_workers=0,
        dataset=dict(type='TinyImageDataset', source='birds'),
        sampler=dict(type='DefaultSampler', shuffle=False),
    ),
    val_evaluator=dict(type='StepMetric'),
    primary_metric='calls',
)


@METRICS.register_module()
class StepMetric(BaseMetric):
    """A loss that falls with every validation, so that every validation has the best checkpoint."""

    default_prefix = None

    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        step = MessageHub.get_current_instance().get_info(
            'iter'
        )  # the last step, or the next one after an interruption
        return dict(calls=-float((step + 1) // 2))


@DATASETS.register_module()
class JitteredDataset(TinyImageDataset):
    """Tiny images that are changed at random, by all three generators that augmentations draw from."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        noise = torch.randint(0, 9, item['inputs'].shape, dtype=torch.uint8)
        shift = random.randint(0, 9) + int(np.random.randint(0, 9))
        return {**item, 'inputs': item['inputs'] // 2 + noise + shift}


def jittered_sources():
    sources = image_sources()
    for source in sources.values():
        source['dataset']['type'] = 'JitteredDataset'
    sources['masks']['network']['decode_head']['dropout_ratio'] = 0.2
    return sources


def write_teacher(folder):
    """Save an expansion stage for the squeeze to learn from."""
    learner = MODELS.build(expansion())
    learner.init_weights()
    randomise(learner.backbone)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=learner.state_dict(), meta={}), folder / 'teacher.pth')


def expansion():
    return dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=jittered_sources())


def squeeze(teacher):
    teacher = dict(model=expansion(), checkpoint=str(teacher))
    return dict(type='FitNetDistiller', teacher=teacher, student=tiny_resnet())


def train_loader(sources, workers=0):
    return dict(
        batch_size=8,
        num_workers=workers,
        dataset=dict(type='MultiSourceDataset', sources=sources),
        sampler=dict(type='MultiSourceSampler'),
        collate_fn=dict(type='multi_source_collate'),
    )


def train(stage, work_dir, resume=False, steps=STEPS, workers=0, **kwargs):
    """Train a stage in ``work_dir``; the teacher of a squeeze is beside it."""
    validated = dict(birds=dict(jittered_sources()['birds'], **VALIDATION))
    model = expansion() if stage == 'expansion' else squeeze(work_dir.parent / 'teacher.pth')
    settings = dict(
        model=model,
        max_iters=steps,
        interval=1,
        runner=XLearnerRunner,
        resume=resume,
        train_dataloader=train_loader(jittered_sources(), workers),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=10)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=steps, by_epoch=False)],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(
                type='CheckpointHook',
                by_epoch=False,
                interval=2,
                max_keep_ckpts=2,
                save_best='sources/mean',
                rule='less',
            ),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=steps, val_interval=2),
        val_cfg=dict(type='MultiSourceValLoop'),
        val_dataloader=dict(sources=validated),
        val_evaluator=dict(type='MultiSourceEvaluator', sources=validated),
        hooks=[dict(type='EMAHook', momentum=0.1)],
        log_level='ERROR',
    )
    runner = tiny_runner(work_dir, **{**settings, **kwargs})
    runner.train()
    return runner


def outcome(work_dir, steps=STEPS):
    """Final state of a training: weights, averages, optimizer, schedules and all logged losses."""
    content = torch.load(work_dir / f'iter_{steps}.pth', weights_only=False)
    scalars = content['message_hub']['log_scalars']
    losses = {name: buffer.data for name, buffer in scalars.items() if 'time' not in name and 'memory' not in name}
    return {key: content[key] for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')} | {
        'losses': losses
    }


def differences(one, other, where=''):
    """Name everything in which two outcomes are not equal to the bit."""
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f'{where}: {sorted(map(str, one.keys() ^ other.keys()))}']
        return [found for key in one for found in differences(one[key], other[key], f'{where}/{key}')]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f'{where}: {len(one)} and {len(other)}']
        return [
            found for i, pair in enumerate(zip(one, other, strict=True)) for found in differences(*pair, f'{where}/{i}')
        ]
    if isinstance(one, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [where]
    return (
        []
        if np.array_equal(one, other, equal_nan=isinstance(one, float | np.ndarray))
        else [f'{where}: {one}, {other}']
    )
