# Source `ade20k`: ADE20K (SceneParse150), 20,210 photographs, 150 classes
# Often changed
data_root = 'data/ade/ADEChallengeData2016'
batch_size = 2  # per GPU; our choice: the stock 4 x 4 on 8 GPUs
# Relative to the schedule's learning rate 0.1: the stock UPerNet's 0.01 at 16 images.
loss_weight = 0.1
# Rarely changed
crop_size = (512, 512)
normalization = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
norm_cfg = dict(type='SyncBN', requires_grad=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]

ade20k = dict(
    task='seg',
    batch_size=batch_size,
    loss_weight=loss_weight,
    declared=dict(images=20210),  # for dry runs without the files
    dataset=dict(
        _scope_='mmseg',
        type='ADE20KDataset',
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline,
    ),
    # mmseg's stock UPerNet.
    network=dict(
        _scope_='mmseg',
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', size=crop_size, pad_val=0, seg_pad_val=255, **normalization),
        backbone=dict(type='ResNet', depth=50, out_indices=(0, 1, 2, 3)),  # replaced by the port of `seg`
        decode_head=dict(
            type='UPerHead',
            in_channels=[256, 512, 1024, 2048],
            in_index=[0, 1, 2, 3],
            pool_scales=(1, 2, 3, 6),
            channels=512,
            dropout_ratio=0.1,
            num_classes=150,
            norm_cfg=norm_cfg,
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        ),
        auxiliary_head=dict(
            type='FCNHead',
            in_channels=1024,
            in_index=2,
            channels=256,
            num_convs=1,
            concat_input=False,
            dropout_ratio=0.1,
            num_classes=150,
            norm_cfg=norm_cfg,
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    ),
    val_dataloader=dict(
        batch_size=1,
        num_workers=4,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            _scope_='mmseg',
            type='ADE20KDataset',
            data_root=data_root,
            data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
            pipeline=val_pipeline,
        ),
    ),
    val_evaluator=dict(_scope_='mmseg', type='IoUMetric', iou_metrics=['mIoU']),
    primary_metric='mIoU',
)

# Two sources would define these helpers twice in a training config.
del data_root, batch_size, loss_weight, crop_size, normalization, norm_cfg, train_pipeline, val_pipeline
