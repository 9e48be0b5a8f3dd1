# Transfer to depth: NYU-Depth V2, mmseg's stock data and depth head, 25k steps; delta1 (`d1`).
#   python tools/train.py configs/transfer/depth/depth_nyu.py
# Data as mmseg has them: data/nyu with images/ and annotations/, each with train/ and test/.
_base_ = [
    '../../_base_/models/depth_r50.py',
    'mmseg::_base_/datasets/nyu.py',
    'mmseg::_base_/schedules/schedule_25k.py',
    'mmseg::_base_/default_runtime.py',
]
custom_imports = dict(imports=['xlearner_mm'], allow_failed_imports=False)

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint with one
checkpoint = 'work_dirs/xlearner_r50_200k_base/backbone.pth'

primary_metric = 'd1'
declared = dict(images=24231, picture=(640, 480))  # for a dry run without the files
model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)))
# The stock pipeline, but for its color changes: they need albumentations, which mmseg does not install.
train_pipeline = [dict(type='PhotoMetricDistortion') if step.type == 'Albu' else step for step in _base_.train_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# The stock schedule, made for a head on a diffusion model; the backbone moves at a tenth of its rate.
optim_wrapper = dict(paramwise_cfg=dict(bias_decay_mult=0, custom_keys={'backbone': dict(lr_mult=0.1)}))
images_per_step = 32  # the stock 4 GPUs x 8, kept on any number of GPUs
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
