# Pre-training on 8 GPUs. One SGD in which every source keeps its own stock recipe ("use sub-tasks' best
# hyper-parameters"): a source's loss weight times `lr` is its stock learning rate at its batch size on 8 GPUs, and
# `decay_mult`, its loss weight times its stock weight decay over `weight_decay`, gives its head that decay at that rate.
_base_ = './per_branch.py'
# Often changed
max_iters = 500000  # our choice: ImageNet's 100 stock epochs; 68 of COCO, what a detector from scratch takes
lr = 0.1
# Rarely changed
warmup = 1000
weight_decay = 1e-4
# Source -> loss weight, stock weight decay; of those that are not here 1 and 1e-4
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
# A branch has the decay of its task's larger sources: COCO and Objects365, ADE20K and COCO-Stuff.
det, seg = keys['networks.coco'], keys['networks.ade20k']
keys.update({'branches.det': det, '__det': det, 'branches.seg': seg, '__seg': seg})  # '__det' ends the names of links

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=weight_decay),
    paramwise_cfg=dict(custom_keys=keys),
    clip_grad=dict(max_norm=35, norm_type=2),  # as the stock Objects365; of each branch by itself
)
# Our choice: a cosine, as the stock ResNet-50 has in one of its variants; the tasks' own step schedules end at
# different shares of their epochs.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup, end=max_iters, T_max=max_iters - warmup, eta_min=0),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=50000)
val_cfg = dict(type='MultiSourceValLoop')
test_cfg = dict(type='MultiSourceTestLoop')
# Norms share their statistics between GPUs: a detection source has two images on each.
sync_bn = 'torch'
del warmup, weight_decay, stock, det, seg, keys
