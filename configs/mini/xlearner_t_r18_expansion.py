# X-Learner_t, expansion stage, in miniature: links receive from the same level alone, not from lower ones.
#   python tools/train.py configs/mini/xlearner_t_r18_expansion.py
_base_ = './xlearner_r18_expansion.py'
model = dict(backbone=dict(reconciliation=dict(topology='same')))
