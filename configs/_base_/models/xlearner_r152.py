# X-Learner: one ResNet-152 per task, linked from lower levels. Two of them need activation checkpointing.
# Often changed
branch = dict(type='XLearnerResNet', depth=152, with_cp=True)

model = dict(
    type='ExpansionLearner',
    backbone=dict(
        type='XLearnerExpandedBackbone',
        branches=dict(cls=branch, det=branch),
        reconciliation=dict(topology='lower'),
    ),
)
del branch
