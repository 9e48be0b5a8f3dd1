# One card of 24 GB, one night: X-Learner w/ seg, expansion stage, on Places365, COCO and ADE20K, with smaller images.
#   python tools/train.py configs/one_gpu/xlearner_seg_r50_expansion.py
_base_ = [
    '../_base_/models/xlearner_seg_r50.py',
    '../_base_/one_gpu_sources.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/one_gpu_80k.py',
    '../_base_/multi_source_runtime.py',
]
# Often changed
scale = (667, 400)  # of COCO's images: half of the stock recipe's
crop_size = (320, 320)  # of ADE20K's: the stock recipe's is 512
places365 = dict(batch_size=128, dataset=dict(variant='standard'), declared=dict(images=1803460))
coco = dict(
    batch_size=8,
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=scale, keep_ratio=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ]
    ),
    val_dataloader=dict(
        dataset=dict(
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=scale, keep_ratio=True),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
            ]
        )
    ),
)
ade20k = dict(
    batch_size=8,
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', reduce_zero_label=True),
            dict(type='RandomResize', scale=(1280, 320), ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackSegInputs'),
        ]
    ),
    network=dict(data_preprocessor=dict(size=crop_size)),
    val_dataloader=dict(
        dataset=dict(
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(1280, 320), keep_ratio=True),
                dict(type='LoadAnnotations', reduce_zero_label=True),
                dict(type='PackSegInputs'),
            ]
        )
    ),
)
sources = dict(places365=places365, coco=coco, ade20k=ade20k)
train_dataloader = dict(num_workers=8)
# Rarely changed
auto_scale_lr = dict(enable=True, base_batch_size=144)
del scale, crop_size, places365, coco, ade20k
