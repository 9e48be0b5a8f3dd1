# One card of 24 GB, one night: X-Learner w/ seg, squeeze stage, its three branches into one plain ResNet-50.
#   python tools/train.py configs/one_gpu/xlearner_seg_r50_squeeze.py
_base_ = [
    './xlearner_seg_r50_expansion.py',
    '../_base_/models/squeeze_r50.py',
    '../_base_/schedules/squeeze_200k.py',
    '../_base_/squeeze_runtime.py',
]

# Often changed: the checkpoint of the expansion stage
teacher_checkpoint = 'work_dirs/xlearner_seg_r50_expansion'
max_iters = 30000
lr = 5e-4  # half of the squeeze's on 8 GPUs, whose steps have six times the images
# Rarely changed
warmup = 1000

model = dict(
    _delete_=True,
    teacher=dict(model=_base_.model, checkpoint=teacher_checkpoint),
    **_base_.squeeze,
)
optim_wrapper = {
    **_base_.squeeze_schedule.optim_wrapper,
    '_delete_': True,
    'type': 'AmpOptimWrapper',
    'loss_scale': 'dynamic',
    'optimizer': dict(type='AdamW', lr=lr, weight_decay=0.05),
}
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=max_iters, T_max=max_iters - warmup, eta_min=0),
]
train_cfg = dict(max_iters=max_iters, val_interval=10000)
custom_hooks = _base_.squeeze_hooks
del warmup
