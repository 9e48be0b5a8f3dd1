# X-Learner of ResNet-152s, expansion stage: ImageNet + DET.
# Our reading of DET: Objects365 alone, as in MuST, beside which the slides put this row.
#   python tools/train.py configs/expansion/xlearner_r152_500k_imagenet_det.py
_base_ = [
    '../_base_/models/xlearner_r152.py',
    '../_base_/sources/imagenet1k.py',
    '../_base_/sources/objects365.py',
    '../_base_/multi_source_loaders.py',
    '../_base_/schedules/pretrain_500k.py',
    '../_base_/multi_source_runtime.py',
]
# Often changed
sources = dict(
    imagenet1k=_base_.imagenet1k,
    objects365=_base_.objects365,
)
train_dataloader = dict(num_workers=8)
# Rarely changed
auto_scale_lr = dict(enable=True, base_batch_size=272)
