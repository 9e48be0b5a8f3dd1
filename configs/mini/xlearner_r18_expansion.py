# X-Learner, expansion stage, in miniature: 3 classification and 2 detection sources.
#   python tools/train.py configs/mini/xlearner_r18_expansion.py
_base_ = [
    '../_base_/models/mini_xlearner_r18.py',
    '../_base_/sources/mini_digits.py',
    '../_base_/sources/mini_shapes.py',
    '../_base_/sources/mini_textures.py',
    '../_base_/sources/mini_det_shapes.py',
    '../_base_/sources/mini_det_digits.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/mini_pretrain.py',
    '../_base_/multi_source_runtime.py',
]
sources = dict(
    digits=_base_.mini_digits,
    shapes=_base_.mini_shapes,
    textures=_base_.mini_textures,
    det_shapes=_base_.mini_det_shapes,
    det_digits=_base_.mini_det_digits,
)
auto_scale_lr = dict(enable=False, base_batch_size=104)
