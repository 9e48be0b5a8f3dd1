# Transfer by linear probe: XL-Mini `symbols`, pictograms, 12 classes.
#   python tools/train.py configs/mini/transfer/cls_symbols.py
_base_ = [
    '../../_base_/models/mini_linear_probe_r18.py',
    '../../_base_/transfer/mini_linear_probe_loaders.py',
    '../../_base_/schedules/mini_transfer.py',
    '../../_base_/default_runtime.py',
]

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint with one
checkpoint = 'work_dirs/xlearner_r18_squeeze/backbone.pth'
data_root = 'data/xl_mini/symbols/'
num_classes = 12

default_scope = 'mmpretrain'
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
