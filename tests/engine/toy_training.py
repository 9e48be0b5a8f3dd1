"""A training of two numbers on eight, for what schedules and hooks do: milliseconds a step, no images."""

from itertools import count

import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import TRANSFORMS
from mmengine.runner import BaseLoop
from torch import nn

from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.registry import DATASETS, HOOKS, LOOPS, MODELS

_RUNS = count()


class Interrupted(Exception):
    """Simulate SIGKILL: only the files of the training are left."""


@TRANSFORMS.register_module()
class AddNumber:
    def __init__(self, number=0.0):
        self.number = number

    def __call__(self, info):
        return dict(inputs=torch.tensor([info['value'] + self.number, 1.0]))


@DATASETS.register_module()
class EightNumbers(BaseDataset):
    METAINFO = dict(channel_order='rgb')

    def load_data_list(self):
        return [dict(value=float(i) / 8) for i in range(8)]


class _Loss(nn.Module):
    factor = 1.0

    def forward(self, x):
        return self.factor * (x**2).mean()


@MODELS.register_module()
class TripleLoss(_Loss):
    factor = 3.0


class _Head(nn.Module):
    use_l1 = False

    def __init__(self):
        super().__init__()
        self.loss_module = _Loss()


@MODELS.register_module()
class ToyModel(BaseModel):
    """Has what stock hooks reach for; its loss depends on all of it."""

    def __init__(self):
        super().__init__()
        self.student, self.teacher = nn.Linear(2, 1), nn.Linear(2, 1)
        self.teacher.requires_grad_(False)
        self.bbox_head, self.head, self.loss_lambda = _Head(), _Head(), 0.5

    def forward(self, inputs, mode='tensor'):
        x = torch.stack(inputs)
        error = self.student(x) - self.teacher(x) - x[:, :1]
        loss = self.head.loss_module(error) * (1 + self.loss_lambda)
        return dict(loss=loss + 0.1 * error.abs().mean() if self.bbox_head.use_l1 else loss)


@LOOPS.register_module()
class ScriptedValLoop(BaseLoop):
    """Validations whose results are given: step or epoch -> score."""

    def __init__(self, runner, dataloader, evaluator, scores=()):
        super().__init__(runner, dataloader)
        self.scores, self.validated = list(scores), []

    def run(self):
        at = self.runner.epoch or self.runner.iter
        self.validated.append(at)
        for stage in ('before_val', 'before_val_epoch'):
            self.runner.call_hook(stage)
        self.runner.call_hook('after_val_epoch', metrics=dict(score=self.scores[at - 1]))
        self.runner.call_hook('after_val')


@HOOKS.register_module()
class InterruptHook(Hook):
    """Interrupt after a step, or after an epoch, behind all other hooks."""

    priority = 'LOWEST'

    def __init__(self, step=None, epoch=None):
        self.step, self.epoch = step, epoch

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.step:
            raise Interrupted

    def after_train_epoch(self, runner):
        if runner.epoch + 1 == self.epoch:
            raise Interrupted


def toy_runner(folder, steps=None, epochs=None, scores=None, hooks=(), checkpoint=None, train_cfg=None, **settings):
    """A training by steps, or by epochs of two steps; validated after each of them where there are scores."""
    by_epoch = epochs is not None
    loop = (
        dict(type='EpochBasedTrainLoop', max_epochs=epochs)
        if by_epoch
        else dict(type='IterBasedTrainLoop', max_iters=steps, val_interval=1)
    )
    data = dict(type='EightNumbers', pipeline=[dict(type='AddNumber')])
    loader = dict(batch_size=4, num_workers=0, dataset=data)
    validation = {}
    if scores is not None:
        validation = dict(
            val_dataloader=dict(**loader, sampler=dict(type='DefaultSampler', shuffle=False)),
            val_cfg=dict(type='ScriptedValLoop', scores=scores),
            val_evaluator=[],
        )
    saving = dict(type='CheckpointHook', by_epoch=by_epoch, interval=1)
    defaults = dict(
        logger=dict(type='LoggerHook', log_metric_by_epoch=by_epoch), checkpoint={**saving, **(checkpoint or {})}
    )
    given = dict(
        model=dict(type='ToyModel'),
        work_dir=str(folder),
        experiment_name=f'toy_{next(_RUNS)}',
        train_dataloader=dict(
            **loader, sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True)
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        train_cfg={**loop, **(train_cfg or {})},
        default_hooks=defaults,
        custom_hooks=list(hooks),
        log_processor=dict(by_epoch=by_epoch),
        log_level='WARNING',
        randomness=dict(seed=3),
        **validation,
    )
    return XLearnerRunner(**{**given, **settings})


def trained(folder, **settings):
    """Train, and return the runner; an interruption ends it."""
    runner = toy_runner(folder, **settings)
    try:
        runner.train()
    except Interrupted:
        return runner
    return runner


def interrupted_and_resumed(folder, step=None, epoch=None, hooks=(), **settings):
    """Train up to an interruption, and resume in a new runner."""
    trained(folder, hooks=[*hooks, dict(type='InterruptHook', step=step, epoch=epoch)], **settings)
    return trained(folder, hooks=hooks, resume='auto', **settings)


def weights(runner):
    return {name: value.tolist() for name, value in runner.model.state_dict().items()}
