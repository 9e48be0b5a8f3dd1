# Transfer to detection: XL-Mini `voc_mini`, a stock ATSS on a frozen backbone, 5 classes, AP50.
#   python tools/train.py configs/mini/transfer/det_voc_mini.py
_base_ = [
    '../../_base_/models/mini_atss_r18.py',
    '../../_base_/schedules/mini_transfer.py',
    '../../_base_/default_runtime.py',
]

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint with one
checkpoint = 'work_dirs/xlearner_r18_squeeze/backbone.pth'
data_root = 'data/xl_mini/voc_mini/'
classes = ('face', 'rook', 'note', 'anchor', 'scissors')

default_scope = 'mmdet'
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)), bbox_head=dict(num_classes=len(classes))
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
images_per_step = 16  # kept on any number of processes
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='VOCDataset',
        metainfo=dict(classes=classes),
        data_root=data_root,
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=8),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VOCDataset',
        metainfo=dict(classes=classes),
        data_root=data_root,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='VOCMetric', metric='mAP', eval_mode='area')
# The visualizer of DetInferencer
visualizer = dict(type='DetLocalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
