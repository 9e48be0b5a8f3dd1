# Hard-sharing in miniature: one ResNet-18 of base width 16 for all tasks.
model = dict(
    type='ExpansionLearner',
    memory_format='channels_last',
    backbone=dict(
        type='XLearnerExpandedBackbone',
        branches=dict(
            shared=dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16, zero_init_residual=False)
        ),
        tasks=dict(cls='shared', det='shared'),
        reconciliation=dict(topology='none'),
    ),
)
