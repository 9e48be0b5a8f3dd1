# X-Learner_r in miniature, first: the classification sources alone on one full-width branch.
#   python tools/train.py configs/mini/single/cls_r18.py
_base_ = [
    '../../_base_/models/mini_single_r18.py',
    '../../_base_/sources/mini_digits.py',
    '../../_base_/sources/mini_shapes.py',
    '../../_base_/sources/mini_textures.py',
    '../../_base_/multi_source_loaders.py',
    '../../_base_/schedules/mini_pretrain.py',
    '../../_base_/multi_source_runtime.py',
]
sources = dict(digits=_base_.mini_digits, shapes=_base_.mini_shapes, textures=_base_.mini_textures)
model = dict(backbone=dict(tasks=dict(cls='single')), sources=sources)
train_dataloader = dict(
    batch_size=sum(source['batch_size'] for source in sources.values()), dataset=dict(sources=sources)
)
auto_scale_lr = dict(enable=False, base_batch_size=sum(source['batch_size'] for source in sources.values()))
val_dataloader = test_dataloader = dict(sources=sources)
val_evaluator = test_evaluator = dict(sources=sources)
