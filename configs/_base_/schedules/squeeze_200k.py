# The squeeze stage on 8 GPUs, in one dict, because the expansion config below a squeeze already has a schedule.
# AdamW gave a higher fidelity than SGD in miniature (docs/squeeze_trials.md); learning rate and length are our choice.
# Often changed
squeeze_max_iters = 200000  # 40 epochs of ImageNet; without labels
squeeze_lr = 1e-3
# Rarely changed
warmup = 1000
squeeze_schedule = dict(
    optim_wrapper=dict(
        type='OptimWrapper',
        constructor='PerBranchOptimWrapperConstructor',  # merges parameter groups
        # One kernel for all updates, equal up to rounding
        optimizer=dict(type='AdamW', lr=squeeze_lr, weight_decay=0.05, fused=True),
        paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
        clip_grad=dict(max_norm=10.0),
    ),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
        dict(
            type='CosineAnnealingLR',
            by_epoch=False,
            begin=warmup,
            end=squeeze_max_iters,
            T_max=squeeze_max_iters - warmup,
            eta_min=0,
        ),
    ],
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=squeeze_max_iters, val_interval=20000),
)
del warmup
