# Transfer to detection, beside the paper's suite: COCO 2017, mmdet's stock Faster R-CNN R50 FPN 1x; AP.
#   python tools/train.py configs/transfer/det/det_coco.py
# Data as mmdet has them: data/coco. COCO is a source of the paper's backbones: this is no test of unseen data for them.
_base_ = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py']
custom_imports = dict(imports=['xlearner_mm'], allow_failed_imports=False)

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint with one
checkpoint = 'work_dirs/xlearner_r50_200k_base/backbone.pth'

primary_metric = 'coco/bbox_mAP'
declared = dict(images=118287)  # for a dry run without the files
extra = True
model = dict(
    backbone=dict(type='XLearnerResNet', init_cfg=dict(_delete_=True, type='Pretrained', checkpoint=checkpoint))
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
images_per_step = 16  # the stock 8 GPUs x 2, kept on any number of GPUs
