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
model = dict(backbone=dict(tasks=dict(cls='single')))
auto_scale_lr = dict(enable=False, base_batch_size=72)
