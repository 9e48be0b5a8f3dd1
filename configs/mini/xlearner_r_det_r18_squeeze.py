# X-Learner_r in miniature, second: the detection model of single/det_r18.py into a half-width ResNet-18.
#   python tools/train.py configs/mini/xlearner_r_det_r18_squeeze.py
_base_ = [
    './single/det_r18.py',
    '../_base_/models/mini_squeeze_half_r18.py',
    '../_base_/schedules/mini_squeeze.py',
    '../_base_/squeeze_runtime.py',
]

# Often changed: the checkpoint of the single-task training
teacher_checkpoint = 'work_dirs/det_r18'

model = dict(
    _delete_=True,
    teacher=dict(model=_base_.model, checkpoint=teacher_checkpoint),
    **_base_.squeeze,
)
param_scheduler = _base_.squeeze_schedule.param_scheduler
train_cfg = _base_.squeeze_schedule.train_cfg
custom_hooks = _base_.squeeze_hooks
