# X-Learner_r, expansion stage: one half-width ResNet-50 per task; the expanded net is what is transferred.
#   python tools/train.py configs/expansion/xlearner_r_r50_500k_base.py
_base_ = './xlearner_r50_500k_base.py'
# Often changed
half = dict(stem_channels=32, base_channels=32)
channels = [128, 256, 512, 1024]
# Rarely changed
classifier = dict(network=dict(head=dict(in_channels=channels[-1])))
detector = dict(network=dict(neck=dict(in_channels=channels)))
# Heads belong to the learner: the dataset and the evaluators need to know nothing of them.
model = dict(
    backbone=dict(branches=dict(cls=half, det=half)),
    sources=dict(
        imagenet1k=classifier,
        inat2021=classifier,
        places365=classifier,
        coco=detector,
        objects365=detector,
    ),
)
del half, channels, classifier, detector
