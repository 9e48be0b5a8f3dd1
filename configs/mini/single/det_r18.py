# X-Learner_r in miniature, first: the detection sources alone on one full-width branch.
#   python tools/train.py configs/mini/single/det_r18.py
_base_ = [
    '../../_base_/models/mini_single_r18.py',
    '../../_base_/sources/mini_det_shapes.py',
    '../../_base_/sources/mini_det_digits.py',
    '../../_base_/multi_source_loaders.py',
    '../../_base_/schedules/mini_pretrain.py',
    '../../_base_/multi_source_runtime.py',
]
sources = dict(det_shapes=_base_.mini_det_shapes, det_digits=_base_.mini_det_digits)
model = dict(backbone=dict(tasks=dict(det='single')))
auto_scale_lr = dict(enable=False, base_batch_size=32)
