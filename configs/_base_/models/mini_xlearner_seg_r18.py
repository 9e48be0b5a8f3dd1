# X-Learner in miniature with a third branch, for segmentation.
_base_ = './mini_xlearner_r18.py'
branch = dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16, zero_init_residual=False)
model = dict(backbone=dict(branches=dict(seg=branch)))
del branch
