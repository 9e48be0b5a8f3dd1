# mmseg's stock depth head, small, over all levels of a frozen ResNet-18 of base width 16.
model = dict(
    type='DepthEstimator',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(64, 64),
        pad_val=0,
        seg_pad_val=0,
    ),
    backbone=dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16, frozen_stages=4, norm_eval=True),
    decode_head=dict(
        type='VPDDepthHead',
        max_depth=10,
        in_channels=[16, 32, 64 + 128],
        embed_dim=16,
        feature_dim=128,
        num_deconv_layers=2,
        num_deconv_filters=(32, 32),
        loss_decode=dict(type='SiLogLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
