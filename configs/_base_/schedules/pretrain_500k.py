# Pre-training on 8 GPUs: one SGD optimizer in which every source keeps its stock recipe ("use sub-tasks' best
# hyper-parameters"). A source's loss weight times `lr` is its stock learning rate at its batch size on 8 GPUs; its
# `decay_mult`, loss weight times stock weight decay over `weight_decay`, gives its head that weight decay.
_base_ = './per_branch.py'
# Often changed
max_iters = 500000  # our choice: the stock 100 epochs of ImageNet; 68 of COCO, as for a detector from scratch
lr = 0.1
# Rarely changed
warmup = 1000
weight_decay = 1e-4
# Source -> loss weight, stock weight decay; 1 and 1e-4 for all others
stock = dict(
    stanford_cars=(0.1, 5e-4),
    stanford_dogs=(0.1, 5e-4),
    coco=(0.2, 1e-4),
    objects365=(0.2, 1e-4),
    wider_face=(0.1, 1e-4),
    ade20k=(0.1, 5e-4),
    coco_stuff=(0.1, 5e-4),
    voc2012=(0.1, 5e-4),
)
keys = {
    f'{part}.{name}': dict(decay_mult=round(weight * decay / weight_decay, 6))
    for name, (weight, decay) in stock.items()
    for part in ('networks', 'hints')
}
# A branch takes the weight decay of its task's larger sources: COCO and Objects365, ADE20K and COCO-Stuff.
det, seg = keys['networks.coco'], keys['networks.ade20k']
keys.update({'branches.det': det, '__det': det, 'branches.seg': seg, '__seg': seg})  # names of links end in '__det'

optim_wrapper = dict(
    # One kernel for all updates, equal up to rounding
    optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=weight_decay, fused=True),
    paramwise_cfg=dict(custom_keys=keys),
    clip_grad=dict(max_norm=35, norm_type=2),  # as the stock Objects365; per branch
)
# Our choice: a cosine, as in a stock variant of ResNet-50; the tasks' step schedules drop at different epochs.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=max_iters, T_max=max_iters - warmup, eta_min=0),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=50000)
val_cfg = dict(type='MultiSourceValLoop')
test_cfg = dict(type='MultiSourceTestLoop')
# Norms share statistics between GPUs: a detection source has two images on each.
sync_bn = 'torch'
del warmup, weight_decay, stock, det, seg, keys
