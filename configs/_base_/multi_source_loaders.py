# One mini-batch from every source in every step; validation source by source. A training config adds `sources`.
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
# Every source is in every step, so no parameter is ever unused. MMEngine's own device_ids are refused on a CPU.
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False, find_unused_parameters=False
)
