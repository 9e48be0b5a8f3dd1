# Hard-sharing on 8 GPUs: as many steps as X-Learner's expansion and squeeze together
_base_ = './pretrain_500k.py'
# Often changed
max_iters = 700000
# Rarely changed
warmup = 1000
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=max_iters, T_max=max_iters - warmup, eta_min=0),
]
train_cfg = dict(max_iters=max_iters)
del warmup
