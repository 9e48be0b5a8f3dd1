# Transfer by linear probe: XL-Photo `cifar10`, a tenth of CIFAR-10's training images, 10 classes.
#   python tools/train.py configs/photo/transfer/cls_cifar10.py
_base_ = [
    '../../_base_/models/mini_linear_probe_r18.py',
    '../../_base_/transfer/mini_linear_probe_loaders.py',
    '../../_base_/schedules/mini_transfer.py',
    '../../_base_/default_runtime.py',
]
work_dir = 'work_dirs/photo_cls_cifar10'  # other data's configs share this file name

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint that holds one
checkpoint = 'work_dirs/photo_xlearner_seg_r18_squeeze/backbone.pth'
data_root = 'data/xl_photo/transfer/cifar10/'
num_classes = 10

default_scope = 'mmpretrain'
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
