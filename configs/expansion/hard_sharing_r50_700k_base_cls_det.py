# Hard-sharing: the slides' + Cls & Det Sources on one ResNet-50.
#   python tools/train.py configs/expansion/hard_sharing_r50_700k_base_cls_det.py
_base_ = [
    '../_base_/models/hard_sharing_r50.py',
    '../_base_/sources/imagenet1k.py',
    '../_base_/sources/inat2021.py',
    '../_base_/sources/places365.py',
    '../_base_/sources/stanford_cars.py',
    '../_base_/sources/stanford_dogs.py',
    '../_base_/sources/coco.py',
    '../_base_/sources/objects365.py',
    '../_base_/sources/wider_face.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/pretrain_700k.py',
    '../_base_/multi_source_runtime.py',
]
# Often changed
sources = dict(
    imagenet1k=_base_.imagenet1k,
    inat2021=_base_.inat2021,
    places365=_base_.places365,
    stanford_cars=_base_.stanford_cars,
    stanford_dogs=_base_.stanford_dogs,
    coco=_base_.coco,
    objects365=_base_.objects365,
    wider_face=_base_.wider_face,
)
train_dataloader = dict(num_workers=8)
# Rarely changed
auto_scale_lr = dict(enable=True, base_batch_size=848)
