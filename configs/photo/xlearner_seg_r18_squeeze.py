# X-Learner w/ seg, squeeze stage, on photographs: the branches of xlearner_seg_r18_expansion.py into one plain ResNet-18.
#   python tools/train.py configs/photo/xlearner_seg_r18_squeeze.py
_base_ = [
    './xlearner_seg_r18_expansion.py',
    '../_base_/models/mini_squeeze_r18.py',
    '../_base_/schedules/photo_squeeze.py',
    '../_base_/squeeze_runtime.py',
]
work_dir = 'work_dirs/photo_xlearner_seg_r18_squeeze'  # other data's configs share this file name

# Often changed: what the expansion stage saved
teacher_checkpoint = 'work_dirs/photo_xlearner_seg_r18_expansion'

model = dict(
    _delete_=True,
    teacher=dict(model=_base_.model, checkpoint=teacher_checkpoint),
    **_base_.squeeze,
)
param_scheduler = _base_.squeeze_schedule.param_scheduler
train_cfg = _base_.squeeze_schedule.train_cfg
custom_hooks = _base_.squeeze_hooks
