import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from xlearner_mm.analysis.dry_run.source_cost import first, shrink


def detection(height=128, width=256):
    sample = DetDataSample(metainfo=dict(img_shape=(height, width), batch_input_shape=(height, width), scale_factor=2))
    masks = BitmapMasks(np.ones((1, height, width), np.uint8), height, width)
    boxes = torch.tensor([[0.0, 0.0, 256.0, 64.0]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0]), masks=masks)
    return {'inputs': torch.zeros(2, 3, height, width), 'data_samples': [sample, sample]}


def test_images_shrink_to_about_the_pixels_wanted_and_objects_with_them():
    small = shrink(detection(), 128 * 256 / 4)
    assert small['inputs'].shape == (2, 3, 64, 128)
    sample = small['data_samples'][0]
    assert sample.img_shape == sample.batch_input_shape == (64, 128)
    assert 'pad_shape' not in sample
    assert sample.gt_instances.bboxes.tolist() == [[0, 0, 128, 32]]
    assert sample.gt_instances.masks.masks.shape == (1, 64, 128)


def test_maps_of_labels_keep_the_size_of_their_images():
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 128, 128)))
    small = shrink({'inputs': torch.zeros(1, 3, 128, 128), 'data_samples': [sample]}, 64 * 64)
    assert small['data_samples'][0].gt_sem_seg.shape == small['inputs'].shape[-2:] == (64, 64)


def test_the_batch_that_was_given_stays_as_it_is():
    data = detection()
    shrink(data, 4096)
    first(data, 1)['data_samples'][0].gt_instances.bboxes.zero_()
    assert data['inputs'].shape == (2, 3, 128, 256)
    assert data['data_samples'][0].gt_instances.bboxes.tolist() == [[0, 0, 256, 64]]


def test_sides_are_multiples_of_the_stride_and_never_longer_than_before():
    shapes = [shrink(detection(96, 224), pixels)['inputs'].shape[-2:] for pixels in (1, 5000, 10**6)]
    assert all(h % 32 == w % 32 == 0 and h <= 96 and w <= 224 for h, w in shapes)
    assert shapes[0] == (32, 32)
