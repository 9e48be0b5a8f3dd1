# ResNet-50 supervised on ImageNet, torchvision's (weights V1).
#   python tools/transfer.py configs/transfer/baselines/imagenet_torchvision_r50.py --suite paper
# The published file: save it there, or change the path.
checkpoint = 'checkpoints/resnet50-0676ba61.pth'
name = 'imagenet_torchvision'  # of its row
paper = ['ImageNet supervised']  # rows of the slides that are set beside it
