# AdamW with a short warm-up and a cosine, for both stages of XL-Photo.
_base_ = './per_branch.py'
# Often changed
max_iters = 1200
lr = 3e-3

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters, T_max=max_iters - 100, eta_min=1e-5),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='MultiSourceValLoop')
test_cfg = dict(type='MultiSourceTestLoop')
