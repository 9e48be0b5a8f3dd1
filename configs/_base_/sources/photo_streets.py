# XL-Photo source `streets`: street scenes of CamVid, 11 classes
# Often changed
data_root = 'data/xl_photo/source/streets/'
classes = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist')
palette = [
    [128, 128, 128],
    [128, 0, 0],
    [192, 192, 128],
    [128, 64, 128],
    [60, 40, 222],
    [128, 128, 0],
    [192, 128, 128],
    [64, 64, 128],
    [64, 0, 128],
    [64, 64, 0],
    [0, 128, 192],
]
batch_size = 16
# Rarely changed
normalization = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
val_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]

photo_streets = dict(
    task='seg',
    batch_size=batch_size,
    declared=dict(images=2202, picture=(64, 64)),  # where its files are not there
    dataset=dict(
        _scope_='mmseg',
        type='BaseSegDataset',
        metainfo=dict(classes=classes, palette=palette),
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        pipeline=train_pipeline,
    ),
    network=dict(
        _scope_='mmseg',
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64), seg_pad_val=255, **normalization),
        backbone=dict(type='ResNet', depth=18, out_indices=(0, 1, 2, 3)),  # replaced by the port of `seg`
        decode_head=dict(
            type='FCNHead',
            in_channels=[16, 32, 64, 128],
            in_index=(0, 1, 2, 3),
            input_transform='resize_concat',
            channels=64,
            num_convs=1,
            kernel_size=3,
            concat_input=False,
            dropout_ratio=0.1,
            init_cfg=dict(type='Normal', std=0.05, override=dict(name='conv_seg')),
            num_classes=11,
            norm_cfg=dict(type='BN', requires_grad=True),
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    ),
    val_dataloader=dict(
        batch_size=50,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            _scope_='mmseg',
            type='BaseSegDataset',
            metainfo=dict(classes=classes, palette=palette),
            data_root=data_root,
            data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
            pipeline=val_pipeline,
        ),
    ),
    val_evaluator=dict(_scope_='mmseg', type='IoUMetric', iou_metrics=['mIoU']),
    primary_metric='mIoU',
)

# A base file's own helpers must not reach the training config: two sources would define them twice.
del data_root, classes, palette, batch_size, normalization, train_pipeline, val_pipeline
