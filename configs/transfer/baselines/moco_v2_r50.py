# MoCo v2's ResNet-50, the authors'; mmselfsup's is read too.
#   python tools/transfer.py configs/transfer/baselines/moco_v2_r50.py --suite paper
# The file as published; put it there, or name where yours is.
checkpoint = 'checkpoints/moco_v2_800ep_pretrain.pth.tar'
name = 'moco_v2'  # of its row
paper = []  # the slides have a MoCo on a billion images alone: 'MoCo 1B'
