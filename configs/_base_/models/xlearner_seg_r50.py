# X-Learner with a third branch, for segmentation.
_base_ = './xlearner_r50.py'
model = dict(backbone=dict(branches=dict(seg=dict(type='XLearnerResNet', depth=50))))
