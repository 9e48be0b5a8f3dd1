# X-Learner of ResNet-152s, expansion stage: ImageNet, Objects365 and COCO.
#   python tools/train.py configs/expansion/xlearner_r152_500k_imagenet_objects365_coco.py
_base_ = [
    '../_base_/models/xlearner_r152.py',
    '../_base_/sources/imagenet1k.py',
    '../_base_/sources/objects365.py',
    '../_base_/sources/coco.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/pretrain_500k.py',
    '../_base_/multi_source_runtime.py',
]
# Often changed
sources = dict(
    imagenet1k=_base_.imagenet1k,
    objects365=_base_.objects365,
    coco=_base_.coco,
)
train_dataloader = dict(num_workers=8)
# Rarely changed
auto_scale_lr = dict(enable=True, base_batch_size=288)
