# Transfer to depth: XL-Photo `rooms`, one room in an RGB-D video, mmseg's stock depth head on a frozen backbone, delta1 (`d1`).
#   python tools/train.py configs/photo/transfer/depth_rooms.py
_base_ = [
    '../../_base_/models/mini_depth_r18.py',
    '../../_base_/schedules/mini_transfer.py',
    '../../_base_/default_runtime.py',
]

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint that holds one
checkpoint = 'work_dirs/xlearner_seg_r18_squeeze/backbone.pth'
data_root = 'data/xl_photo/transfer/rooms'

default_scope = 'mmseg'
model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)))

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadDepthAnnotation', depth_rescale_factor=1e-3),
    dict(type='PackSegInputs', meta_keys=('img_path', 'depth_map_path', 'ori_shape', 'img_shape')),
]
images_per_step = 16  # kept on any number of processes
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='NYUDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/train', depth_map_path='annotations/train'),
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='NYUDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/test', depth_map_path='annotations/test'),
        test_mode=True,
        pipeline=pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='DepthMetric', min_depth_eval=0.001, max_depth_eval=10.0)
# What MMSegInferencer draws with
visualizer = dict(type='SegLocalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
