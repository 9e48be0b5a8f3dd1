# X-Learner of ResNet-152s, expansion stage: ImageNet + DET + SEG.
# Our reading: DET is Objects365 and COCO, SEG is ADE20K and COCO-Stuff.
#   python tools/train.py configs/expansion/xlearner_r152_500k_imagenet_det_seg.py
_base_ = [
    '../_base_/models/xlearner_seg_r152.py',
    '../_base_/sources/imagenet1k.py',
    '../_base_/sources/objects365.py',
    '../_base_/sources/coco.py',
    '../_base_/sources/ade20k.py',
    '../_base_/sources/coco_stuff.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/pretrain_500k.py',
    '../_base_/multi_source_runtime.py',
]
# Often changed
sources = dict(
    imagenet1k=_base_.imagenet1k,
    objects365=_base_.objects365,
    coco=_base_.coco,
    ade20k=_base_.ade20k,
    coco_stuff=_base_.coco_stuff,
)
train_dataloader = dict(num_workers=8)
# Rarely changed
auto_scale_lr = dict(enable=True, base_batch_size=320)
