"""The memory that a training really takes, to hold an estimate against."""

import torch
from mmengine.config import Config

from xlearner_mm.analysis.dry_run.blueprint import stand_in_teachers
from xlearner_mm.analysis.dry_run.source_cost import Allocations
from xlearner_mm.config.options import load_config
from xlearner_mm.engine.runner import XLearnerRunner


def short_training(config, folder, steps=3) -> Config:
    """A config's training without validation, of some steps; absent teachers are random."""
    cfg = load_config(str(config), str(folder), [], 'none')
    stand_in_teachers(cfg, str(folder))
    for part in ('val', 'test'):
        for key in ('cfg', 'dataloader', 'evaluator'):
            cfg[f'{part}_{key}'] = None
    cfg.custom_hooks = []
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=1000, save_last=False)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps)
    cfg.auto_scale_lr.enable = False
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.log_level = 'ERROR'
    return cfg


def cpu_peak(cfg) -> int:
    """Bytes that PyTorch's CPU allocator held at the most, from the building of the model to the last step."""
    with Allocations() as allocations:
        XLearnerRunner.from_cfg(cfg).train()
    return allocations.peak


def gpu_peak(cfg) -> int:
    """Bytes of tensors that were on the GPU at the most."""
    torch.cuda.reset_peak_memory_stats()
    XLearnerRunner.from_cfg(cfg).train()
    return torch.cuda.max_memory_allocated()
