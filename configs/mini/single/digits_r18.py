# A hint teacher of X-Learner++ in miniature: the source `digits` alone on one branch.
#   python tools/train.py configs/mini/single/digits_r18.py
_base_ = [
    '../../_base_/models/mini_single_r18.py',
    '../../_base_/sources/mini_digits.py',
    '../../_base_/multi_source_loaders.py',
    '../../_base_/schedules/mini_pretrain.py',
    '../../_base_/multi_source_runtime.py',
]
sources = dict(digits=_base_.mini_digits)
model = dict(backbone=dict(tasks=dict(cls='single')))
auto_scale_lr = dict(enable=False, base_batch_size=24)
