# Transfer by linear probe: Oxford-IIIT Pets, 37 breeds, 3,680 photographs to train, 3,669 to test; mean per class.
#   python tools/transfer.py CHECKPOINT --only pets
#   python tools/train.py configs/transfer/cls/cls_pets.py      (the linear head by SGD, as a stock training)
_base_ = [
    '../../_base_/models/linear_probe_r50.py',
    '../../_base_/transfer/cls_photos.py',
    '../../_base_/schedules/transfer_cls_20k.py',
    '../../_base_/default_runtime.py',
]

# Often changed: a backbone exported by tools/export_backbone.py, or any checkpoint with one
checkpoint = 'work_dirs/xlearner_r50_200k_base/backbone.pth'
data_root = 'data/Oxford-IIIT_Pets'
# Rarely changed
num_classes = 37
primary_metric = 'single-label/recall'
declared = dict(images=3680)  # for a dry run without the files

default_scope = 'mmpretrain'
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(type='OxfordIIITPet', data_root=data_root, split='trainval'))
val_dataloader = test_dataloader = dict(dataset=dict(type='OxfordIIITPet', data_root=data_root, split='test'))
