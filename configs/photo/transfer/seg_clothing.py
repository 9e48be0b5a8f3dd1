# Transfer to segmentation: XL-Photo `clothing`, a stock FCN head on a frozen backbone, 6 classes, mIoU.
#   python tools/train.py configs/photo/transfer/seg_clothing.py
_base_ = [
    '../../_base_/models/mini_fcn_r18.py',
    '../../_base_/schedules/mini_transfer.py',
    '../../_base_/default_runtime.py',
]

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint that holds one
checkpoint = 'work_dirs/xlearner_seg_r18_squeeze/backbone.pth'
data_root = 'data/xl_photo/transfer/clothing'
classes = ('background', 'skin', 'hair', 'upper', 'lower', 'dress', 'extras')
palette = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128]]

default_scope = 'mmseg'
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    decode_head=dict(num_classes=len(classes), loss_decode=dict(class_weight=[0.2] + [1.0] * 6)),
)

pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
images_per_step = 16  # kept on any number of processes
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BaseSegDataset',
        img_suffix='.jpg',
        seg_map_suffix='.png',
        metainfo=dict(classes=classes, palette=palette),
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/train.txt',
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset',
        img_suffix='.jpg',
        seg_map_suffix='.png',
        metainfo=dict(classes=classes, palette=palette),
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
# What MMSegInferencer draws with
visualizer = dict(type='SegLocalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
