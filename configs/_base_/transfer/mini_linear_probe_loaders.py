# Class folders of a transfer set, `train` and `test`, for a linear probe. A config adds `data_root`.
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
images_per_step = 64  # kept on any number of processes
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_prefix='train', pipeline=pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_prefix='test', pipeline=pipeline),
)
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
# The visualizer of ImageClassificationInferencer
visualizer = dict(type='UniversalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
# Of the images whose features a probe reads; the same features up to rounding, faster on CPUs
memory_format = 'channels_last'
