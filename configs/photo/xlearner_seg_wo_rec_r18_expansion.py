# X-Learner w/ seg and w/o Rec., expansion stage, on photographs: the same branches without links.
#   python tools/train.py configs/photo/xlearner_seg_wo_rec_r18_expansion.py
_base_ = './xlearner_seg_r18_expansion.py'
work_dir = 'work_dirs/photo_xlearner_seg_wo_rec_r18_expansion'
model = dict(backbone=dict(reconciliation=dict(topology='none')))
