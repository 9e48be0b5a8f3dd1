# X-Learner w/o Rec., expansion stage: the same branches without links.
#   python tools/train.py configs/expansion/xlearner_wo_rec_r50_500k_base.py
_base_ = './xlearner_r50_500k_base.py'
model = dict(backbone=dict(reconciliation=dict(topology='none')))
