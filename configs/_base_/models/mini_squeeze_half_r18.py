# The squeeze of X-Learner_r in miniature: a plain ResNet-18 of half the width, from scratch, learns from one branch.
_base_ = './mini_squeeze_r18.py'
squeeze = dict(student=dict(stem_channels=8, base_channels=8), start_from=None)
