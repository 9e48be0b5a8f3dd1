# A linear classifier on the pooled last level of a frozen ResNet-18 of base width 16. BN without affine parameters, as
# in MAE's linear probe, standardizes the features.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    ),
    backbone=dict(
        type='XLearnerResNet',
        depth=18,
        stem_channels=16,
        base_channels=16,
        out_indices=(3,),
        frozen_stages=4,
        norm_eval=True,
    ),
    neck=[dict(type='GlobalAveragePooling'), dict(type='ClsBatchNormNeck', input_features=128)],
    head=dict(type='LinearClsHead', in_channels=128, loss=dict(type='CrossEntropyLoss')),
)
