# X-Learner_p, expansion stage: as X-Learner, with links of a quarter of the parameters, since pruning leaves links whole.
#   python tools/train.py configs/expansion/xlearner_p_r50_500k_base.py
_base_ = './xlearner_r50_500k_base.py'
model = dict(backbone=dict(reconciliation=dict(link=dict(type='PoolLink'))))
