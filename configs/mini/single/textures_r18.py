# A hint teacher of X-Learner++ in miniature: the source `textures` alone on one branch.
#   python tools/train.py configs/mini/single/textures_r18.py
_base_ = [
    '../../_base_/models/mini_single_r18.py',
    '../../_base_/sources/mini_textures.py',
    '../../_base_/multi_source_loaders.py',
    '../../_base_/schedules/mini_pretrain.py',
    '../../_base_/multi_source_runtime.py',
]
sources = dict(textures=_base_.mini_textures)
model = dict(backbone=dict(tasks=dict(cls='single')), sources=sources)
train_dataloader = dict(batch_size=_base_.mini_textures.batch_size, dataset=dict(sources=sources))
auto_scale_lr = dict(enable=False, base_batch_size=sum(source['batch_size'] for source in sources.values()))
val_dataloader = test_dataloader = dict(sources=sources)
val_evaluator = test_evaluator = dict(sources=sources)
