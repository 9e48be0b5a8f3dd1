# Hard-sharing on photographs: the sources of xlearner_seg_r18_expansion.py on one branch.
#   python tools/train.py configs/photo/hard_sharing_seg_r18.py
_base_ = [
    '../_base_/models/mini_hard_sharing_seg_r18.py',
    '../_base_/sources/photo_objects.py',
    '../_base_/sources/photo_signs.py',
    '../_base_/sources/photo_boxes.py',
    '../_base_/sources/photo_cells.py',
    '../_base_/sources/photo_streets.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/photo_pretrain.py',
    '../_base_/multi_source_runtime.py',
]
work_dir = 'work_dirs/photo_hard_sharing_seg_r18'  # other data's configs share this file name
# Often changed: as many optimizer steps as X-Learner's expansion and squeeze together
max_iters = 3144

sources = dict(
    objects=_base_.photo_objects,
    signs=_base_.photo_signs,
    boxes=_base_.photo_boxes,
    cells=_base_.photo_cells,
    streets=_base_.photo_streets,
)
auto_scale_lr = dict(enable=False, base_batch_size=88)
# Rarely changed: the schedule of that length
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters, T_max=max_iters - 100, eta_min=1e-5),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
