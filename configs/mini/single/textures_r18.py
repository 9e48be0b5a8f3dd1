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
model = dict(backbone=dict(tasks=dict(cls='single')))
auto_scale_lr = dict(enable=False, base_batch_size=24)
