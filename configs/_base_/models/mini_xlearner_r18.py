# X-Learner in miniature: one ResNet-18 of base width 16 per task, linked from lower levels.
# Residual blocks that start at zero (the stock default) learn too late in a few hundred steps.
branch = dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16, zero_init_residual=False)
model = dict(
    type='ExpansionLearner',
    memory_format='channels_last',
    backbone=dict(
        type='XLearnerExpandedBackbone',
        branches=dict(cls=branch, det=branch),
        reconciliation=dict(topology='lower'),
    ),
)
del branch
