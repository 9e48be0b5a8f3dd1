# X-Learner w/ seg, expansion stage, in miniature: 3 classification, 2 detection and 1 segmentation source.
#   python tools/train.py configs/mini/xlearner_seg_r18_expansion.py
_base_ = [
    '../_base_/models/mini_xlearner_seg_r18.py',
    '../_base_/sources/mini_digits.py',
    '../_base_/sources/mini_shapes.py',
    '../_base_/sources/mini_textures.py',
    '../_base_/sources/mini_det_shapes.py',
    '../_base_/sources/mini_det_digits.py',
    '../_base_/sources/mini_seg_things.py',
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
    seg_things=_base_.mini_seg_things,
)
auto_scale_lr = dict(enable=False, base_batch_size=120)
