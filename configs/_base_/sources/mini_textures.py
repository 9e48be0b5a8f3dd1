# XL-Mini source `textures`: surfaces at any scale, angle and color, 10 classes
# Often changed
data_root = 'data/xl_mini/textures/'
batch_size = 24
# Rarely changed
normalization = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

mini_textures = dict(
    task='cls',
    batch_size=batch_size,
    declared=dict(images=3000, picture=(64, 64)),  # for dry runs without the files
    dataset=dict(
        _scope_='mmpretrain',
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline=pipeline,
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
            pipeline=pipeline,
        ),
    ),
    val_evaluator=dict(_scope_='mmpretrain', type='Accuracy', topk=(1,)),
    primary_metric='accuracy/top1',
)

# Two sources would define these helpers twice in a training config.
del data_root, batch_size, normalization, pipeline
