# Pre-training on 8 GPUs. One SGD in which every source keeps its own stock recipe ("use sub-tasks' best
# hyper-parameters"): a source's loss weight times `lr` is its stock learning rate at its batch size on 8 GPUs, and
# `decay_mult` gives its task the stock weight decay at that rate.
_base_ = './per_branch.py'
# Often changed
max_iters = 500000  # our choice: ImageNet's 100 stock epochs; 68 of COCO, what a detector from scratch takes
lr = 0.1
# Rarely changed
warmup = 1000
det = dict(decay_mult=0.2)  # 0.02 x 1e-4, of COCO and Objects365
seg = dict(decay_mult=0.5)  # 0.01 x 5e-4
keys = {'branches.det': det, '__det': det, 'branches.seg': seg, '__seg': seg}  # '__det' ends the names of links
for part in ('networks', 'hints'):
    keys.update({f'{part}.{name}': det for name in ('coco', 'objects365', 'wider_face')})
    keys.update({f'{part}.{name}': seg for name in ('ade20k', 'coco_stuff', 'voc2012')})

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=1e-4),
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
del warmup, det, seg, keys, part
