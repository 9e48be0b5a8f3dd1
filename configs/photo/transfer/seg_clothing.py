# Transfer to segmentation: XL-Photo `clothing`, a stock FCN head on a frozen backbone, 6 classes, mIoU.
#   python tools/train.py configs/photo/transfer/seg_clothing.py
_base_ = '../../mini/transfer/seg_voc_mini.py'

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint that holds one
checkpoint = 'work_dirs/photo_xlearner_seg_r18_squeeze/backbone.pth'
data_root = 'data/xl_photo/transfer/clothing'
classes = ('background', 'skin', 'hair', 'upper', 'lower', 'dress', 'extras')
palette = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128]]

model = dict(
    backbone=dict(init_cfg=dict(checkpoint=checkpoint)),
    decode_head=dict(num_classes=len(classes), loss_decode=dict(class_weight=[0.2] + [1.0] * 6)),
)
train_dataloader = val_dataloader = test_dataloader = dict(
    dataset=dict(data_root=data_root, metainfo=dict(classes=classes, palette=palette))
)
