# X-Learner: one ResNet-50 per task, linked from lower levels, from scratch.
# Our choice, as branches are shared by sources: no stage is frozen and no norm in inference mode, which the stock
# detectors have for their ImageNet start. `sync_bn` of the schedule makes up for their two images per GPU.
# Often changed
branch = dict(type='XLearnerResNet', depth=50)

model = dict(
    type='ExpansionLearner',
    backbone=dict(
        type='XLearnerExpandedBackbone',
        branches=dict(cls=branch, det=branch),
        reconciliation=dict(topology='lower'),
    ),
)
del branch
