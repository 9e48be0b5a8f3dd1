# The squeeze of X-Learner_r: a plain ResNet-50 of half the width, from scratch, learns from one branch.
_base_ = './squeeze_r50.py'
squeeze = dict(student=dict(stem_channels=32, base_channels=32), start_from=None)
