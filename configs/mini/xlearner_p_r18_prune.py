# X-Learner_p in miniature: the expanded net of xlearner_r18_expansion.py pruned to the size of one of its branches.
#   python tools/train.py configs/mini/xlearner_p_r18_prune.py
_base_ = './xlearner_r18_expansion.py'
# Often changed: the checkpoint of the expansion stage, and the size after pruning
load_from = 'work_dirs/xlearner_r18_expansion'
target_params = 702096  # one ResNet-18 of base width 16; before pruning 1,485,216
criterion = dict(type='GroupMagnitudeImportance')
max_iters = 300
lr = 1e-3
# Rarely changed: five pruning steps in the first half, fine-tuning in the second
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=20, end=max_iters, T_max=max_iters - 20, eta_min=1e-5),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='PruningHook',
        target_params=target_params,
        steps=5,
        interval=max_iters // 10,
        criterion=criterion,
        input_size=(64, 64),
    ),
]
