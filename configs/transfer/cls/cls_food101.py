# Transfer by linear probe: Food-101, 101 dishes, 75,750 photographs to train, 25,250 to test; top-1.
#   python tools/transfer.py CHECKPOINT --only food101
#   python tools/train.py configs/transfer/cls/cls_food101.py      (the linear head by SGD, as a stock training)
_base_ = [
    '../../_base_/models/linear_probe_r50.py',
    '../../_base_/transfer/cls_photos.py',
    '../../_base_/schedules/transfer_cls_20k.py',
    '../../_base_/default_runtime.py',
]

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint with one
checkpoint = 'work_dirs/xlearner_r50_200k_base/backbone.pth'
data_root = 'data/food-101'
# Rarely changed
num_classes = 101
primary_metric = 'accuracy/top1'
declared = dict(images=75750)  # for a dry run without the files

default_scope = 'mmpretrain'
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(type='Food101', data_root=data_root, split='train'))
val_dataloader = test_dataloader = dict(dataset=dict(type='Food101', data_root=data_root, split='test'))
