# Hard-sharing: one ResNet-50 for all tasks, from scratch.
model = dict(
    type='ExpansionLearner',
    backbone=dict(
        type='XLearnerExpandedBackbone',
        branches=dict(shared=dict(type='XLearnerResNet', depth=50)),
        tasks=dict(cls='shared', det='shared'),
        reconciliation=dict(topology='none'),
    ),
)
