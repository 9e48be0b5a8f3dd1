# The length of the squeezes of XL-Mini; optimizer and learning rate are those of the expansion.
# Often changed
squeeze_max_iters = 553  # 1.5 times the FLOPs of X-Learner's expansion: docs/squeeze_trials.md
# Rarely changed: the schedule of that length, in one dict, because the expansion config below a squeeze already has one
squeeze_schedule = dict(
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=40),
        dict(
            type='CosineAnnealingLR',
            by_epoch=False,
            begin=40,
            end=squeeze_max_iters,
            T_max=squeeze_max_iters - 40,
            eta_min=1e-5,
        ),
    ],
    train_cfg=dict(max_iters=squeeze_max_iters, val_interval=squeeze_max_iters),
)
