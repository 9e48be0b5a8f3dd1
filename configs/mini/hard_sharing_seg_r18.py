# Hard-sharing with segmentation, in miniature: the sources of xlearner_seg_r18_expansion.py on one branch.
#   python tools/train.py configs/mini/hard_sharing_seg_r18.py
_base_ = [
    '../_base_/models/mini_hard_sharing_seg_r18.py',
    '../_base_/sources/mini_digits.py',
    '../_base_/sources/mini_shapes.py',
    '../_base_/sources/mini_textures.py',
    '../_base_/sources/mini_det_shapes.py',
    '../_base_/sources/mini_det_digits.py',
    '../_base_/sources/mini_seg_things.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/mini_pretrain.py',
    '../_base_/multi_source_runtime.py',
]
# Often changed: as many optimizer steps as X-Learner's expansion and squeeze together
max_iters = 1125

sources = dict(
    digits=_base_.mini_digits,
    shapes=_base_.mini_shapes,
    textures=_base_.mini_textures,
    det_shapes=_base_.mini_det_shapes,
    det_digits=_base_.mini_det_digits,
    seg_things=_base_.mini_seg_things,
)
auto_scale_lr = dict(enable=False, base_batch_size=120)
# Rarely changed: the schedule of that length
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=40, end=max_iters, T_max=max_iters - 40, eta_min=1e-5),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
