# Hard-sharing in miniature with segmentation: one ResNet-18 of base width 16 for all tasks.
_base_ = './mini_hard_sharing_r18.py'
model = dict(backbone=dict(tasks=dict(seg='shared')))
