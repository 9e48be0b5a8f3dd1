# X-Learner of ResNet-152s with a third branch, for segmentation.
_base_ = './xlearner_r152.py'
model = dict(backbone=dict(branches=dict(seg=dict(type='XLearnerResNet', depth=152, with_cp=True))))
