# X-Learner, expansion stage: the slides' + Cls Sources.
#   python tools/train.py configs/expansion/xlearner_r50_500k_base_cls.py
_base_ = [
    '../_base_/models/xlearner_r50.py',
    '../_base_/sources/imagenet1k.py',
    '../_base_/sources/inat2021.py',
    '../_base_/sources/places365.py',
    '../_base_/sources/stanford_cars.py',
    '../_base_/sources/stanford_dogs.py',
    '../_base_/sources/coco.py',
    '../_base_/sources/objects365.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/pretrain_500k.py',
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
)
train_dataloader = dict(num_workers=8)
# Rarely changed
auto_scale_lr = dict(enable=True, base_batch_size=832)
