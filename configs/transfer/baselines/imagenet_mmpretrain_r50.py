# ResNet-50 supervised on ImageNet, mmpretrain's.
#   python tools/transfer.py configs/transfer/baselines/imagenet_mmpretrain_r50.py --suite paper
# The published file: save it there, or change the path.
checkpoint = 'checkpoints/resnet50_8xb32_in1k_20210831-ea4938fc.pth'
name = 'imagenet_mmpretrain'  # of its row
paper = ['ImageNet supervised']  # rows of the slides that are set beside it
