# XL-Photo source `cells`: blood cells under a microscope, 3 classes
# Often changed
data_root = 'data/xl_photo/source/cells/'
classes = ('RBC', 'WBC', 'Platelets')
batch_size = 12
# Rarely changed
normalization = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

photo_cells = dict(
    task='det',
    batch_size=batch_size,
    declared=dict(images=1157, picture=(64, 48)),  # where its files are not there
    dataset=dict(
        _scope_='mmdet',
        type='CocoDataset',
        metainfo=dict(classes=classes),
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=2),
        pipeline=train_pipeline,
    ),
    network=dict(
        _scope_='mmdet',
        type='ATSS',
        data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32, **normalization),
        backbone=dict(type='ResNet', depth=18, out_indices=(0, 1, 2, 3)),  # replaced by the port of `det`
        neck=dict(type='FPN', in_channels=[16, 32, 64, 128], out_channels=32, start_level=1, num_outs=3),
        bbox_head=dict(
            type='ATSSHead',
            num_classes=3,
            in_channels=32,
            stacked_convs=2,
            feat_channels=32,
            # Stock heads start from N(0, 0.01), for schedules a hundred times as long.
            init_cfg=dict(
                type='Normal',
                layer='Conv2d',
                std=0.05,
                override=dict(type='Normal', name='atss_cls', std=0.05, bias_prob=0.05),
            ),
            norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
            anchor_generator=dict(
                type='AnchorGenerator', ratios=[1.0], octave_base_scale=3, scales_per_octave=1, strides=[8, 16, 32]
            ),
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder', target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2]
            ),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
            loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
            loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
        ),
        train_cfg=dict(assigner=dict(type='ATSSAssigner', topk=9), allowed_border=-1, pos_weight=-1, debug=False),
        test_cfg=dict(
            nms_pre=200, min_bbox_size=0, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=30
        ),
    ),
    val_dataloader=dict(
        batch_size=50,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            _scope_='mmdet',
            type='CocoDataset',
            metainfo=dict(classes=classes),
            data_root=data_root,
            ann_file='annotations/instances_val.json',
            data_prefix=dict(img='val/'),
            test_mode=True,
            pipeline=val_pipeline,
        ),
    ),
    val_evaluator=dict(
        _scope_='mmdet', type='CocoMetric', ann_file=data_root + 'annotations/instances_val.json', metric='bbox'
    ),
    primary_metric='coco/bbox_mAP_50',
    primary_scale=100,
)

# A base file's own helpers must not reach the training config: two sources would define them twice.
del data_root, classes, batch_size, normalization, train_pipeline, val_pipeline
