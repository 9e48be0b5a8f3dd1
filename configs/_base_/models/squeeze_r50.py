# The squeeze: a plain ResNet-50 learns from all branches, starting as the classification branch.
squeeze = dict(
    type='FitNetDistiller',
    student=dict(type='XLearnerResNet', depth=50),
    start_from='cls',
    levels=(0, 1, 2, 3),
    supervise='all',
    loss=dict(type='FitNetLoss', reduction='mean'),
    standardize=dict(type='ChannelStandardize'),
)
