# A linear classifier on the pooled last level of a frozen ResNet-50. BN without affine parameters, as in MAE's linear
# probe, standardizes the features; the L-BFGS probe replaces it by its own standardization.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    ),
    backbone=dict(type='XLearnerResNet', depth=50, out_indices=(3,), frozen_stages=4, norm_eval=True),
    neck=[dict(type='GlobalAveragePooling'), dict(type='ClsBatchNormNeck', input_features=2048)],
    head=dict(type='LinearClsHead', in_channels=2048, loss=dict(type='CrossEntropyLoss')),
)
