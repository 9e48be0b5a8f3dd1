# Transfer by linear probe: Oxford Flowers-102, 102 flowers, 2,040 photographs to train, 6,149 to test; mean per class.
#   python tools/transfer.py CHECKPOINT --only flowers102
#   python tools/train.py configs/transfer/cls/cls_flowers102.py      (the linear head by SGD, as a stock training)
_base_ = [
    '../../_base_/models/linear_probe_r50.py',
    '../../_base_/transfer/cls_photos.py',
    '../../_base_/schedules/transfer_cls_20k.py',
    '../../_base_/default_runtime.py',
]

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint with one
checkpoint = 'work_dirs/xlearner_r50_200k_base/backbone.pth'
data_root = 'data/Flowers102'
# Rarely changed
num_classes = 102
primary_metric = 'single-label/recall'
declared = dict(images=2040)  # for a dry run without the files
validation_split = 'val'  # part of the training images; the probe's penalty is chosen on it

default_scope = 'mmpretrain'
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(type='Flowers102', data_root=data_root, split='trainval'))
val_dataloader = test_dataloader = dict(dataset=dict(type='Flowers102', data_root=data_root, split='test'))
