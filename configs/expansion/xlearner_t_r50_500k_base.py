# X-Learner_t, expansion stage: links receive from the same level alone, not from lower ones.
#   python tools/train.py configs/expansion/xlearner_t_r50_500k_base.py
# Our choice of a topology without lower levels. `higher` needs fuse='output', where a link into a level that no source
# reads (all but the last, for classification) would take no gradient, which DDP refuses.
_base_ = './xlearner_r50_500k_base.py'
model = dict(backbone=dict(reconciliation=dict(topology='same')))
