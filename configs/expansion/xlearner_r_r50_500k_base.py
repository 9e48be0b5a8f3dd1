# X-Learner_r, third: the half-width ResNet-50s, linked and trained; the expanded net is what is transferred.
#   python tools/train.py configs/expansion/xlearner_r_r50_500k_base.py
_base_ = './xlearner_r50_500k_base.py'
# Often changed: the checkpoint of each task's squeeze
checkpoints = dict(cls='work_dirs/xlearner_r_cls_r50_200k_base', det='work_dirs/xlearner_r_det_r50_200k_base')
# Rarely changed
half = dict(stem_channels=32, base_channels=32)
channels = [128, 256, 512, 1024]
classifier = dict(network=dict(head=dict(in_channels=channels[-1])))
detector = dict(network=dict(neck=dict(in_channels=channels)))
# Necks and heads start from scratch: those of the single-task models read twice the channels.
sources = dict(
    imagenet1k=classifier,
    inat2021=classifier,
    places365=classifier,
    coco=detector,
    objects365=detector,
)
model = dict(
    backbone=dict(
        branches={
            task: dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint), **half)
            for task, checkpoint in checkpoints.items()
        }
    )
)
del checkpoints, half, channels, classifier, detector
