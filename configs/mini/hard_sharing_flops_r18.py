# Hard-sharing in miniature, for as many FLOPs as X-Learner's expansion and squeeze together.
#   python tools/train.py configs/mini/hard_sharing_flops_r18.py
_base_ = './hard_sharing_r18.py'
# Often changed: counted by tools/train.py --dry-run
max_iters = 1503
# Rarely changed: the schedule of that length
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=40, end=max_iters, T_max=max_iters - 40, eta_min=1e-5),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
