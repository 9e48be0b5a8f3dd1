# Transfer to depth: XL-Photo `rooms`, one room in an RGB-D video, mmseg's stock depth head on a frozen backbone, delta1.
#   python tools/train.py configs/photo/transfer/depth_rooms.py
_base_ = '../../mini/transfer/depth_nyu_mini.py'

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint that holds one
checkpoint = 'work_dirs/photo_xlearner_seg_r18_squeeze/backbone.pth'
data_root = 'data/xl_photo/transfer/rooms'

model = dict(backbone=dict(init_cfg=dict(checkpoint=checkpoint)))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
