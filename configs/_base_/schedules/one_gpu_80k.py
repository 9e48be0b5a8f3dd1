# Pre-training on one GPU in 16 bits: the stock recipes of pretrain_500k.py at half their images a step, so half their rate.
_base_ = './pretrain_500k.py'
# Often changed
max_iters = 80000  # our choice: 5.7 epochs of Places365, 5.4 of COCO, 32 of ADE20K
lr = 0.05
# Rarely changed
warmup = 1000
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', optimizer=dict(lr=lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=max_iters, T_max=max_iters - warmup, eta_min=0),
]
train_cfg = dict(max_iters=max_iters, val_interval=20000)
sync_bn = None
del warmup
