# X-Learner++, expansion stage: ImageNet + DET. with hints from single-source ResNet-152s.
#   python tools/train.py configs/expansion/xlearner_pp_r152_500k_imagenet_det.py
_base_ = './xlearner_r152_500k_imagenet_det.py'
# Often changed: a model of each source alone, trained or downloaded; any stock checkpoint that holds a ResNet-152
checkpoints = dict(
    imagenet1k='checkpoints/resnet152_imagenet1k.pth',
    objects365='checkpoints/resnet152_objects365.pth',
)
# Rarely changed
teacher = dict(
    model=dict(type='XLearnerResNet', depth=152),
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
