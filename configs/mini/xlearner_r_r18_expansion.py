# X-Learner_r in miniature: one half-width ResNet-18 per task, expanded; the expanded net is what is transferred.
#   python tools/train.py configs/mini/xlearner_r_r18_expansion.py
_base_ = './xlearner_r18_expansion.py'
# Often changed
half = dict(stem_channels=8, base_channels=8)
channels = [8, 16, 32, 64]
# Rarely changed
classifier = dict(network=dict(head=dict(in_channels=channels[-1])))
detector = dict(network=dict(neck=dict(in_channels=channels)))
# Heads belong to the learner: the dataset and the evaluators need to know nothing of them.
model = dict(
    backbone=dict(branches=dict(cls=half, det=half)),
    sources=dict(digits=classifier, shapes=classifier, textures=classifier, det_shapes=detector, det_digits=detector),
)
del half, channels, classifier, detector
