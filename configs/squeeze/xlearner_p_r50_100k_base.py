# X-Learner_p, in place of a squeeze: the net of expansion/xlearner_p_r50_500k_base.py pruned to a ResNet-50's size.
#   python tools/train.py configs/squeeze/xlearner_p_r50_100k_base.py
_base_ = '../expansion/xlearner_p_r50_500k_base.py'
# Often changed: the checkpoint of the expansion stage, and the size after pruning
load_from = 'work_dirs/xlearner_p_r50_500k_base'
target_params = 23.51e6  # one ResNet-50 without its classifier; before pruning 51.62 M, at the least 12.38 M
criterion = dict(type='GroupMagnitudeImportance')
# Our choice: ten steps in half of a fifth of the expansion's iterations, at a tenth of its rate
max_iters = 100000
lr = 0.01
# Rarely changed
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=1000, end=max_iters, T_max=max_iters - 1000, eta_min=0),
]
train_cfg = dict(max_iters=max_iters)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='PruningHook', target_params=target_params, steps=10, interval=max_iters // 20, criterion=criterion),
]
