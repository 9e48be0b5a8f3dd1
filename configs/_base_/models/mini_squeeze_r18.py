# The squeeze in miniature: a plain ResNet-18 of base width 16 learns from all branches.
squeeze = dict(
    type='FitNetDistiller',
    memory_format='channels_last',
    student=dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16, zero_init_residual=False),
    start_from='cls',
    levels=(0, 1, 2, 3),
    supervise='all',
    loss=dict(type='FitNetLoss', reduction='mean'),
    standardize=dict(type='ChannelStandardize'),
)
