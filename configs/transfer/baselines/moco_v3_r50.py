# MoCo v3's ResNet-50, the authors'.
#   python tools/transfer.py configs/transfer/baselines/moco_v3_r50.py --suite paper
# The published file: save it there, or change the path.
checkpoint = 'checkpoints/r-50-1000ep.pth.tar'
name = 'moco_v3'  # of its row
paper = []  # the slides have a MoCo on a billion images alone: 'MoCo 1B'
