# X-Learner w/o Rec., expansion stage, in miniature: the same branches without links.
#   python tools/train.py configs/mini/xlearner_wo_rec_r18_expansion.py
_base_ = './xlearner_r18_expansion.py'
model = dict(backbone=dict(reconciliation=dict(topology='none')))
