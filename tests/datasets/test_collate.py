import torch

from xlearner_mm.datasets import multi_source_collate


def test_samples_are_grouped_by_source_and_sizes_may_differ():
    small, large = torch.zeros(3, 8, 8), torch.zeros(3, 8, 16)
    batch = multi_source_collate(
        [
            {'source': 'coco', 'data': {'inputs': small, 'data_samples': 'first'}},
            {'source': 'imagenet', 'data': {'inputs': small, 'data_samples': 'second'}},
            {'source': 'coco', 'data': {'inputs': large, 'data_samples': 'third'}},
        ]
    )
    assert list(batch) == ['coco', 'imagenet']
    assert batch['coco']['inputs'][0] is small
    assert batch['coco']['inputs'][1] is large
    assert batch['coco']['data_samples'] == ['first', 'third']
    assert batch['imagenet']['data_samples'] == ['second']
