# A small stock FCN head over all levels of a frozen ResNet-18 of base width 16.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(64, 64),
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16, frozen_stages=4, norm_eval=True),
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
        norm_cfg=dict(type='BN', requires_grad=True),
        align_corners=False,
        # Most pixels are background: with equal weights, a few hundred steps learn nothing else.
        loss_decode=dict(
            type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0, class_weight=[0.2, 1.0, 1.0, 1.0, 1.0, 1.0]
        ),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
