# BYOL's ResNet-50, mmselfsup's; those of solo-learn and byol-pytorch are read too.
#   python tools/transfer.py configs/transfer/baselines/byol_r50.py --suite paper
# The published file: save it there, or change the path.
checkpoint = 'checkpoints/byol_resnet50_16xb256-coslr-200e_in1k.pth'
name = 'byol'  # of its row
paper = []  # the slides have a BYOL on 300 million images alone: 'BYOL 300M'
