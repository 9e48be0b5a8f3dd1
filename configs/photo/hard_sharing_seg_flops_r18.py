# Hard-sharing on photographs, for as many FLOPs as X-Learner's expansion and squeeze together.
#   python tools/train.py configs/photo/hard_sharing_seg_flops_r18.py
_base_ = './hard_sharing_seg_r18.py'
work_dir = 'work_dirs/photo_hard_sharing_seg_flops_r18'  # other data's configs share this file name
# Often changed: counted by tools/train.py --dry-run
max_iters = 4336
# Rarely changed: the schedule of that length
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters, T_max=max_iters - 100, eta_min=1e-5),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
