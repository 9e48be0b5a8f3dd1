# XL-Photo source `signs`: hand signs of the digits, 10 classes
# Often changed
data_root = 'data/xl_photo/source/signs/'
batch_size = 12
# Rarely changed
normalization = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=64, padding=6),
    dict(type='PackInputs'),
]
val_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

photo_signs = dict(
    task='cls',
    batch_size=batch_size,
    declared=dict(images=1600, picture=(64, 64)),  # where its files are not there
    dataset=dict(
        _scope_='mmpretrain',
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline=train_pipeline,
    ),
    network=dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        data_preprocessor=dict(type='ClsDataPreprocessor', num_classes=10, **normalization),
        backbone=dict(type='ResNet', depth=18, out_indices=(3,)),  # replaced by the port of `cls`
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=10,
            in_channels=128,
            loss=dict(type='CrossEntropyLoss'),
            init_cfg=dict(type='Normal', layer='Linear', std=0.1),  # 0.01 learns nothing in so few steps
        ),
    ),
    val_dataloader=dict(
        batch_size=100,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            _scope_='mmpretrain',
            type='CustomDataset',
            data_root=data_root,
            data_prefix='val',
            pipeline=val_pipeline,
        ),
    ),
    val_evaluator=dict(_scope_='mmpretrain', type='Accuracy', topk=(1,)),
    primary_metric='accuracy/top1',
)

# A base file's own helpers must not reach the training config: two sources would define them twice.
del data_root, batch_size, normalization, train_pipeline, val_pipeline
