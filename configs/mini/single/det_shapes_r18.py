# A hint teacher of X-Learner++ in miniature: the source `det_shapes` alone on one branch.
#   python tools/train.py configs/mini/single/det_shapes_r18.py
_base_ = [
    '../../_base_/models/mini_single_r18.py',
    '../../_base_/sources/mini_det_shapes.py',
    '../../_base_/multi_source_loaders.py',
    '../../_base_/schedules/mini_pretrain.py',
    '../../_base_/multi_source_runtime.py',
]
sources = dict(det_shapes=_base_.mini_det_shapes)
model = dict(backbone=dict(tasks=dict(det='single')))
auto_scale_lr = dict(enable=False, base_batch_size=16)
