# X-Learner_r, first: the slides' detection sources of Base alone, on one full-width ResNet-50.
#   python tools/train.py configs/expansion/single_det_r50_500k_base.py
_base_ = [
    '../_base_/sources/coco.py',
    '../_base_/sources/objects365.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/pretrain_500k.py',
    '../_base_/multi_source_runtime.py',
]
# Often changed
sources = dict(
    coco=_base_.coco,
    objects365=_base_.objects365,
)
train_dataloader = dict(num_workers=8)
# Rarely changed
model = dict(
    type='ExpansionLearner',
    backbone=dict(
        type='XLearnerExpandedBackbone',
        branches=dict(det=dict(type='XLearnerResNet', depth=50)),
        reconciliation=dict(topology='none'),
    ),
)
auto_scale_lr = dict(enable=True, base_batch_size=32)
