# Sources of configs/one_gpu, at their full size; a config reduces them to its card.
_base_ = ['./sources/places365.py', './sources/coco.py', './sources/ade20k.py']
sources = dict(places365=_base_.places365, coco=_base_.coco, ade20k=_base_.ade20k)
