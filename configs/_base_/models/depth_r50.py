# mmseg's stock depth head (VPD's) over all levels of a ResNet-50.
# VPD's levels have strides 8 to 64 and need three deconvolutions; a ResNet's have 4 to 32 and need two.
model = dict(
    type='DepthEstimator',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(480, 480),
        pad_val=0,
        seg_pad_val=0,
    ),
    backbone=dict(type='XLearnerResNet', depth=50, norm_cfg=dict(type='SyncBN', requires_grad=True), norm_eval=False),
    decode_head=dict(
        type='VPDDepthHead',
        max_depth=10,
        in_channels=[256, 512, 1024 + 2048],
        num_deconv_layers=2,
        num_deconv_filters=(32, 32),
        loss_decode=dict(type='SiLogLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
