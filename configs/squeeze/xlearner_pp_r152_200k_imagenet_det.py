# X-Learner++ R152, squeeze stage: the branches of expansion/xlearner_pp_r152_500k_imagenet_det.py into one plain ResNet-152.
#   python tools/train.py configs/squeeze/xlearner_pp_r152_200k_imagenet_det.py
_base_ = [
    '../expansion/xlearner_pp_r152_500k_imagenet_det.py',
    '../_base_/models/squeeze_r152.py',
    '../_base_/schedules/squeeze_200k.py',
    '../_base_/squeeze_runtime.py',
]

# Often changed: the checkpoint of the expansion stage
teacher_checkpoint = 'work_dirs/xlearner_pp_r152_500k_imagenet_det'

model = dict(
    _delete_=True,
    teacher=dict(model=_base_.model, checkpoint=teacher_checkpoint),
    **_base_.squeeze,
)
optim_wrapper = dict(_delete_=True, **_base_.squeeze_schedule.optim_wrapper)
param_scheduler = _base_.squeeze_schedule.param_scheduler
train_cfg = _base_.squeeze_schedule.train_cfg
custom_hooks = _base_.squeeze_hooks
