# X-Learner++, expansion stage: Base with hints from single-source ResNet-50s.
#   python tools/train.py configs/expansion/xlearner_pp_r50_500k_base.py
_base_ = './xlearner_r50_500k_base.py'
# Often changed: a model of each source alone, trained or downloaded; any stock checkpoint that holds a ResNet-50
checkpoints = dict(
    imagenet1k='checkpoints/resnet50_imagenet1k.pth',
    inat2021='checkpoints/resnet50_inat2021.pth',
    places365='checkpoints/resnet50_places365.pth',
    coco='checkpoints/resnet50_coco.pth',
    objects365='checkpoints/resnet50_objects365.pth',
)
# Rarely changed
teacher = dict(
    model=dict(type='XLearnerResNet', depth=50),
    # The teachers' input normalization, which must equal the sources'.
    data_preprocessor=dict(
        _scope_='mmdet',
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
)
# Weight 1 at all four levels is our choice.
model = dict(hints={source: dict(checkpoint=checkpoint, **teacher) for source, checkpoint in checkpoints.items()})
del checkpoints, teacher
