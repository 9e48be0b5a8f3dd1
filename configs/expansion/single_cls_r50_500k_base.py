# X-Learner_r, first: the slides' classification sources of Base alone, on one full-width ResNet-50.
#   python tools/train.py configs/expansion/single_cls_r50_500k_base.py
_base_ = [
    '../_base_/sources/imagenet1k.py',
    '../_base_/sources/inat2021.py',
    '../_base_/sources/places365.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/pretrain_500k.py',
    '../_base_/multi_source_runtime.py',
]
# Often changed
sources = dict(
    imagenet1k=_base_.imagenet1k,
    inat2021=_base_.inat2021,
    places365=_base_.places365,
)
train_dataloader = dict(num_workers=8)
# Rarely changed
model = dict(
    type='ExpansionLearner',
    backbone=dict(
        type='XLearnerExpandedBackbone',
        branches=dict(cls=dict(type='XLearnerResNet', depth=50)),
        reconciliation=dict(topology='none'),
    ),
)
auto_scale_lr = dict(enable=True, base_batch_size=768)
