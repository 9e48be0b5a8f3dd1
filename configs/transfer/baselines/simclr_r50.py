# SimCLR's ResNet-50, mmselfsup's; those of solo-learn and VISSL are read too.
#   python tools/transfer.py configs/transfer/baselines/simclr_r50.py --suite paper
# The file as published; put it there, or name where yours is.
checkpoint = 'checkpoints/simclr_resnet50_8xb512-coslr-200e_in1k.pth'
name = 'simclr'  # of its row
paper = ['SimCLR']  # rows of the slides that are set beside it
