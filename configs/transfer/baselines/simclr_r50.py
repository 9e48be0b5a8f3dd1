# SimCLR's ResNet-50 of mmselfsup; those of solo-learn and VISSL work too.
#   python tools/transfer.py configs/transfer/baselines/simclr_r50.py --suite paper
# The published file: save it there, or change the path.
checkpoint = 'checkpoints/simclr_resnet50_8xb512-coslr-200e_in1k.pth'
name = 'simclr'  # of its row
paper = ['SimCLR']  # rows of the slides that are set beside it
