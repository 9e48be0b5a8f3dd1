# A linear head trained by SGD on a frozen backbone (`--probe sgd`), or fine-tuning (`--finetune`): 20,000 steps
# Often changed
max_iters = 20000
images_per_step = 64  # kept on any number of GPUs
lr = 0.1  # on standardized features, without weight decay as in linear probes

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=0.0))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters, T_max=max_iters, eta_min=0.0)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict()
test_cfg = dict()
finetune = dict(
    model=dict(backbone=dict(frozen_stages=-1, norm_eval=False)),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)),
)
