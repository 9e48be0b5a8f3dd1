# The squeeze: a plain ResNet-152 learns from all branches, starting as the classification branch.
_base_ = './squeeze_r50.py'
squeeze = dict(student=dict(depth=152, with_cp=True))
