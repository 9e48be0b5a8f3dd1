# One mini-batch from every source in every step; validation source by source. A training config adds `sources`,
# which the runner passes to dataset, model and evaluators.
runner_type = 'XLearnerRunner'  # for RUNNERS.build(cfg) in the libraries' own tools/train.py
train_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    dataset=dict(type='MultiSourceDataset'),
    sampler=dict(type='MultiSourceSampler'),
    collate_fn=dict(type='multi_source_collate'),
)
val_dataloader = dict()
val_evaluator = dict(type='MultiSourceEvaluator')
test_dataloader = dict()
test_evaluator = dict(type='MultiSourceEvaluator')
custom_hooks = [
    dict(type='StageMetaHook'),
    dict(type='SourceEpochHook'),
    dict(type='BranchGradientHook'),
    dict(type='LinkStrengthHook'),
]
