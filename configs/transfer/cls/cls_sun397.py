# Transfer by linear probe: SUN397, 397 scenes, the first official partition: 19,850 to train and to test; top-1.
#   python tools/transfer.py CHECKPOINT --only sun397
#   python tools/train.py configs/transfer/cls/cls_sun397.py      (the linear head by SGD, as a stock training)
_base_ = [
    '../../_base_/models/linear_probe_r50.py',
    '../../_base_/transfer/cls_photos.py',
    '../../_base_/schedules/transfer_cls_20k.py',
    '../../_base_/default_runtime.py',
]

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint with one
checkpoint = 'work_dirs/xlearner_r50_200k_base/backbone.pth'
data_root = 'data/SUN397'
# Rarely changed
num_classes = 397
primary_metric = 'accuracy/top1'
declared = dict(images=19850)  # for a dry run without the files

default_scope = 'mmpretrain'
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    head=dict(num_classes=num_classes),
)
# Some of its .jpg files are PNG or GIF, which only pillow reads.
load = dict(type='LoadImageFromFile', imdecode_backend='pillow')
train_dataloader = dict(
    dataset=dict(type='SUN397', data_root=data_root, split='train', pipeline=[load, *_base_.train_pipeline[1:]])
)
val_dataloader = test_dataloader = dict(
    dataset=dict(type='SUN397', data_root=data_root, split='test', pipeline=[load, *_base_.test_pipeline[1:]])
)
