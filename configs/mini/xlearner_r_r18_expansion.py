# X-Learner_r in miniature, third: the half-width ResNet-18s, linked and trained; the expanded net is what is transferred.
#   python tools/train.py configs/mini/xlearner_r_r18_expansion.py
_base_ = './xlearner_r18_expansion.py'
# Often changed: the checkpoint of each task's squeeze
checkpoints = dict(cls='work_dirs/xlearner_r_cls_r18_squeeze', det='work_dirs/xlearner_r_det_r18_squeeze')
# Rarely changed
half = dict(stem_channels=8, base_channels=8)
channels = [8, 16, 32, 64]
classifier = dict(network=dict(head=dict(in_channels=channels[-1])))
detector = dict(network=dict(neck=dict(in_channels=channels)))
# Necks and heads start from scratch: those of the single-task models read twice the channels.
sources = dict(digits=classifier, shapes=classifier, textures=classifier, det_shapes=detector, det_digits=detector)
model = dict(
    backbone=dict(
        branches={
            task: dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint), **half)
            for task, checkpoint in checkpoints.items()
        }
    )
)
del checkpoints, half, channels, classifier, detector
