# XL-Mini source `seg_things`: pictograms filled with a texture, on a texture; 5 classes and background
# Often changed
data_root = 'data/xl_mini/seg_things/'
classes = ('background', 'airplane', 'umbrella', 'telephone', 'spade', 'cloud')
palette = [[0, 0, 0], [230, 25, 75], [60, 180, 75], [255, 225, 25], [0, 130, 200], [245, 130, 48]]
batch_size = 16
# Rarely changed
normalization = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]

mini_seg_things = dict(
    task='seg',
    batch_size=batch_size,
    declared=dict(images=2400, picture=(64, 64)),  # for dry runs without the files
    dataset=dict(
        _scope_='mmseg',
        type='BaseSegDataset',
        metainfo=dict(classes=classes, palette=palette),
        data_root=data_root,
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        pipeline=pipeline,
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
            num_classes=6,
            norm_cfg=dict(type='BN', requires_grad=True),
            align_corners=False,
            # Most pixels are background: weighed equally, a few hundred steps learn nothing else.
            loss_decode=dict(
                type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0, class_weight=[0.2, 1.0, 1.0, 1.0, 1.0, 1.0]
            ),
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
            pipeline=pipeline,
        ),
    ),
    val_evaluator=dict(_scope_='mmseg', type='IoUMetric', iou_metrics=['mIoU']),
    primary_metric='mIoU',
)

# Two sources would define these helpers twice in a training config.
del data_root, classes, palette, batch_size, normalization, pipeline
