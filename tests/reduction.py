"""A config of paper scale, small enough for two steps on a CPU."""

import torch

from xlearner_mm.registry import MODELS
from xlearner_mm.sources import with_sources

WIDTH = 16  # factor on channels
SIZE = 4  # factor on pictures
IMAGENET = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 'rgb']
_CHANNELS = ('in_channels', 'out_channels', 'feat_channels', 'fc_out_channels', 'channels')
_SIZES = ('scale', 'crop_size', 'size')


def reduced(cfg, work_dir):
    """Narrow every branch and head, shrink every picture, take two images per source and two steps."""
    learner = learner_of(cfg)
    others = [hint.model for hint in learner.get('hints', {}).values()]
    others += [cfg.model.student] if 'student' in cfg.model else []
    for branch in [*learner.backbone.branches.values(), *others]:
        branch.depth = min(branch.depth, 50)
        branch.base_channels = branch.get('base_channels', 64) // WIDTH
        branch.stem_channels = branch.get('stem_channels', 64) // WIDTH
    for name, source in cfg.sources.items():
        source.network = smaller(source.network, _CHANNELS, WIDTH)
        source.batch_size = 2
        source.val_dataloader.num_workers = 0
        cfg.sources[name] = smaller(source, _SIZES, SIZE)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.auto_scale_lr.enable = False
    cfg.log_processor.window_size = cfg.default_hooks.logger.interval = 1
    cfg.work_dir = str(work_dir)
    return cfg


def learner_of(cfg):
    """The config of the expansion stage's learner, in either stage."""
    return cfg.model.teacher.model if 'teacher' in cfg.model else cfg.model


def with_teachers(cfg, folder):
    """Put an untrained model where each checkpoint should be: a squeeze's teacher, a branch's start, or a hint."""
    if 'teacher' in cfg.model:
        model = with_sources(cfg)['model'].teacher.model
        learner = MODELS.build({key: value for key, value in model.items() if key != 'hints'})
        cfg.model.teacher.checkpoint = str(folder / 'expansion.pth')
        content = {'state_dict': learner.state_dict(), 'meta': {'xlearner': learner.describe()}}
        torch.save(content, cfg.model.teacher.checkpoint)
        return cfg
    for name, branch in cfg.model.backbone.branches.items():
        if 'init_cfg' in branch:
            branch.init_cfg.checkpoint = str(folder / f'{name}.pth')
            bare = MODELS.build({key: value for key, value in branch.items() if key != 'init_cfg'})
            torch.save({'state_dict': bare.state_dict()}, branch.init_cfg.checkpoint)
    for name, hint in cfg.model.get('hints', {}).items():
        hint.checkpoint = str(folder / f'{name}.pth')
        state = MODELS.build(hint.model).state_dict()
        content = {'state_dict': {f'backbone.{key}': value for key, value in state.items()}}
        if 'data_preprocessor' not in hint:  # an export, which says how its images were normalized
            content['meta'] = {'normalization': IMAGENET}
        torch.save(content, hint.checkpoint)
    return cfg


def smaller(value, keys, factor):
    """Divide what stands under these keys, at any depth."""
    if isinstance(value, dict):
        return type(value)({k: divided(v, factor) if k in keys else smaller(v, keys, factor) for k, v in value.items()})
    return type(value)(smaller(v, keys, factor) for v in value) if isinstance(value, (list, tuple)) else value


def divided(value, factor):
    return type(value)(v // factor for v in value) if isinstance(value, (list, tuple)) else value // factor
