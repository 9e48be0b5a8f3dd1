# Transfer to detection: PASCAL VOC 07+12 trainval to VOC 07 test, mmdet's stock Faster R-CNN R50 FPN; AP50.
#   python tools/train.py configs/transfer/det/det_voc0712.py
# Data as mmdet has them: data/VOCdevkit/VOC2007 and data/VOCdevkit/VOC2012.
_base_ = ['mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py']
custom_imports = dict(imports=['xlearner_mm'], allow_failed_imports=False)

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint with one
checkpoint = 'work_dirs/xlearner_r50_200k_base/backbone.pth'

primary_metric = 'pascal_voc/AP50'
declared = dict(images=3 * 16551)  # for a dry run without the files; an epoch takes each three times
model = dict(
    backbone=dict(type='XLearnerResNet', init_cfg=dict(_delete_=True, type='Pretrained', checkpoint=checkpoint))
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
images_per_step = 16  # the stock 8 GPUs x 2, kept on any number of GPUs
