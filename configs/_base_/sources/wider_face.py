# Source `wider_face`: WIDER FACE, 12,880 photographs of faces
# Often changed
data_root = 'data/WIDERFace/'
batch_size = 2  # per GPU, as in the stock 8 x 2
# Relative to the schedule's learning rate 0.1: the stock RetinaNet's 0.01 at 16 images.
loss_weight = 0.1
# Rarely changed
scale = (640, 640)
normalization = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

wider_face = dict(
    task='det',
    batch_size=batch_size,
    loss_weight=loss_weight,
    # A few of its faces have no width or height: their images are left out, listed in bad_images.txt.
    bad_data=dict(policy='skip', max_share=0.01),
    declared=dict(images=12880),  # for dry runs without the files
    dataset=dict(
        _scope_='mmdet',
        type='WIDERFaceDataset',
        data_root=data_root,
        ann_file='train.txt',
        data_prefix=dict(img='WIDER_train'),
        filter_cfg=dict(filter_empty_gt=True, bbox_min_size=17, min_size=32),
        pipeline=train_pipeline,
    ),
    network=dict(
        _scope_='mmdet',
        type='RetinaNet',
        data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32, **normalization),
        backbone=dict(type='ResNet', depth=50, out_indices=(0, 1, 2, 3)),  # replaced by the port of `det`
        neck=dict(
            type='FPN',
            in_channels=[256, 512, 1024, 2048],
            out_channels=256,
            start_level=1,
            add_extra_convs='on_input',
            num_outs=5,
        ),
        bbox_head=dict(
            type='RetinaHead',
            num_classes=1,
            in_channels=256,
            stacked_convs=4,
            feat_channels=256,
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=3,
                ratios=[0.5, 1.0, 2.0],
                strides=[8, 16, 32, 64, 128],
            ),
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder', target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[1.0, 1.0, 1.0, 1.0]
            ),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        ),
        train_cfg=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
            sampler=dict(type='PseudoSampler'),  # focal loss looks at all anchors
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        test_cfg=dict(
            nms_pre=1000, min_bbox_size=0, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100
        ),
    ),
    val_dataloader=dict(
        batch_size=1,
        num_workers=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            _scope_='mmdet',
            type='WIDERFaceDataset',
            data_root=data_root,
            ann_file='val.txt',
            data_prefix=dict(img='WIDER_val'),
            test_mode=True,
            pipeline=val_pipeline,
        ),
    ),
    val_evaluator=dict(_scope_='mmdet', type='VOCMetric', metric='mAP', eval_mode='11points'),
    primary_metric='pascal_voc/mAP',
    primary_scale=100,
)

# Two sources would define these helpers twice in a training config.
del data_root, batch_size, loss_weight, scale, normalization, train_pipeline, val_pipeline
