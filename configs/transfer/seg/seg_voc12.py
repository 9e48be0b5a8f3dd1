# Transfer to segmentation: PASCAL VOC 2012 with the extra annotations, mmseg's stock UPerNet R50, 20k steps; mIoU.
#   python tools/train.py configs/transfer/seg/seg_voc12.py
# Data as mmseg has them: data/VOCdevkit/VOC2012 with SegmentationClassAug.
_base_ = ['mmseg::upernet/upernet_r50_4xb4-20k_voc12aug-512x512.py']
custom_imports = dict(imports=['xlearner_mm'], allow_failed_imports=False)

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint with one
checkpoint = 'work_dirs/xlearner_r50_200k_base/backbone.pth'

primary_metric = 'mIoU'
declared = dict(images=10582)  # for a dry run without the files
model = dict(
    pretrained=None,
    backbone=dict(type='XLearnerResNet', init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
images_per_step = 16  # the stock 4 GPUs x 4, kept on any number of GPUs
