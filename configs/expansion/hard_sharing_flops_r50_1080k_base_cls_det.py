# Hard-sharing on the slides' + Cls & Det Sources, for as many FLOPs as X-Learner's expansion and squeeze together.
#   python tools/train.py configs/expansion/hard_sharing_flops_r50_1080k_base_cls_det.py
_base_ = './hard_sharing_r50_700k_base_cls_det.py'
# Often changed: counted by tools/train.py --dry-run, to 1%
max_iters = 1080000
# Rarely changed: the schedule of that length
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=1000, end=max_iters, T_max=max_iters - 1000, eta_min=0),
]
train_cfg = dict(max_iters=max_iters)
