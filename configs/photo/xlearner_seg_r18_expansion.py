# X-Learner w/ seg, expansion stage, on photographs: 2 classification, 2 detection and 1 segmentation source.
#   python tools/train.py configs/photo/xlearner_seg_r18_expansion.py
_base_ = [
    '../_base_/models/mini_xlearner_seg_r18.py',
    '../_base_/sources/photo_objects.py',
    '../_base_/sources/photo_signs.py',
    '../_base_/sources/photo_boxes.py',
    '../_base_/sources/photo_cells.py',
    '../_base_/sources/photo_streets.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/photo_pretrain.py',
    '../_base_/multi_source_runtime.py',
]
work_dir = 'work_dirs/photo_xlearner_seg_r18_expansion'  # other data's configs share this file name
sources = dict(
    objects=_base_.photo_objects,
    signs=_base_.photo_signs,
    boxes=_base_.photo_boxes,
    cells=_base_.photo_cells,
    streets=_base_.photo_streets,
)
auto_scale_lr = dict(enable=False, base_batch_size=88)
