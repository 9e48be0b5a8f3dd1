# X-Learner++, expansion stage, in miniature: hints from models of each source alone (single/*.py).
#   python tools/train.py configs/mini/xlearner_pp_r18_expansion.py
_base_ = './xlearner_r18_expansion.py'
# Often changed: the exported backbone of each source's own model
checkpoints = dict(
    digits='work_dirs/digits_r18/backbone.pth',
    shapes='work_dirs/shapes_r18/backbone.pth',
    textures='work_dirs/textures_r18/backbone.pth',
    det_shapes='work_dirs/det_shapes_r18/backbone.pth',
    det_digits='work_dirs/det_digits_r18/backbone.pth',
)
# Rarely changed
teacher = dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16)
model = dict(hints={source: dict(model=teacher, checkpoint=checkpoint) for source, checkpoint in checkpoints.items()})
del checkpoints, teacher
