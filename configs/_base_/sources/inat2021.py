# Source `inat2021`: iNaturalist 2021, 2,686,843 photographs, 10,000 species
# Often changed
data_root = 'data/inat2021/'
batch_size = 32  # our choice: ImageNet's recipe, as mmpretrain has none for it
# The schedule's learning rate, 0.1, is the stock recipe's at 256 images.
loss_weight = 1.0
# Rarely changed
normalization = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

inat2021 = dict(
    task='cls',
    batch_size=batch_size,
    loss_weight=loss_weight,
    declared=dict(images=2686843),  # for dry runs without the files
    dataset=dict(
        _scope_='mmpretrain',
        type='INat2021',
        data_root=data_root,
        split='train',
        pipeline=train_pipeline,
    ),
    network=dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        data_preprocessor=dict(type='ClsDataPreprocessor', num_classes=10000, **normalization),
        backbone=dict(type='ResNet', depth=50, out_indices=(3,)),  # replaced by the port of `cls`
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=10000,
            in_channels=2048,
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
            topk=(1, 5),
        ),
    ),
    val_dataloader=dict(
        batch_size=64,
        num_workers=4,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            _scope_='mmpretrain',
            type='INat2021',
            data_root=data_root,
            split='val',
            pipeline=val_pipeline,
        ),
    ),
    val_evaluator=dict(_scope_='mmpretrain', type='Accuracy', topk=(1, 5)),
    primary_metric='accuracy/top1',
)

# Two sources would define these helpers twice in a training config.
del data_root, batch_size, loss_weight, normalization, train_pipeline, val_pipeline
