# One ResNet-18 of base width 16 for one source, or the sources of one task; the config sets the task
model = dict(
    type='ExpansionLearner',
    memory_format='channels_last',
    backbone=dict(
        type='XLearnerExpandedBackbone',
        branches=dict(
            single=dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16, zero_init_residual=False)
        ),
        reconciliation=dict(topology='none'),
    ),
)
