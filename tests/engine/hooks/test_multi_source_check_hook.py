"""A training on label maps that tell no class from another does not begin."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torch import nn

from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler
from xlearner_mm.engine.hooks.multi_source_check_hook import MultiSourceCheckHook
from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.errors import SourceError

from ...datasets.small_sources import label_maps


def begin(root, values, model=None, stock=False):
    """Start a training on six maps of two classes, and return its log."""
    source = label_maps(root)
    for path in (root / 'maps').iterdir():
        Image.fromarray(np.resize(np.array(values, np.uint8), (72, 96))).save(path)
    source['dataset']['metainfo'] = dict(classes=('background', 'thing'))
    told = []
    if stock:
        settings = dict(batch_size=1, num_workers=0, dataset=source['dataset'], sampler=dict(type='DefaultSampler'))
        loader = XLearnerRunner.build_dataloader(settings, seed=0)
    else:
        dataset = MultiSourceDataset({'masks': source})
        sampler = MultiSourceSampler(dataset)
        loader = SimpleNamespace(dataset=dataset, sampler=sampler, batch_size=sampler.batch_size, collate_fn=None)
    logger = SimpleNamespace(warning=told.append)
    runner = SimpleNamespace(train_dataloader=loader, model=model or nn.Identity(), logger=logger)
    MultiSourceCheckHook().before_train(runner)
    return told


@pytest.mark.parametrize(('stock', 'name'), [(False, 'masks'), (True, 'BaseSegDataset')])
def test_masks_of_0_and_255_are_refused(tmp_path, stock, name):
    with pytest.raises(SourceError, match=rf"source '{name}': .*/maps: all 6 label maps .*255.*none holds thing"):
        begin(tmp_path, [0, 255], stock=stock)


def test_a_squeeze_needs_no_labels(tmp_path):
    student = nn.Module()
    student.student = nn.Identity()
    (line,) = begin(tmp_path, [255], student)
    assert 'do not hold 2 of the 2 classes: background, thing' in line


@pytest.mark.parametrize('stock', [False, True])
def test_masks_of_both_classes_are_accepted(tmp_path, stock):
    assert begin(tmp_path, [0, 1, 255], stock=stock) == []
