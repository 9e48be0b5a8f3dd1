"""A type is the same in all its spellings: bare, with its library, by its import path, and as the class itself."""

import re

import mmengine.registry
import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmengine.model import PretrainedInit
from mmengine.optim import AmpOptimWrapper

from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.models import XLearnerResNet
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.models.backbones.xlearner_resnet import start_of
from xlearner_mm.registry import (
    DATASETS,
    MODELS,
    OPTIM_WRAPPERS,
    bare_name,
    missing_type,
    names_a,
    plain,
    registered_name,
    type_of,
    with_registered_names,
)

SPELLINGS = [
    'MultiSourceDataset',
    'mmengine.MultiSourceDataset',
    'xlearner_mm.datasets.MultiSourceDataset',
    'xlearner_mm.datasets.multi_source_dataset.MultiSourceDataset',
    MultiSourceDataset,
]


class Derived(MultiSourceDataset):
    pass


@pytest.mark.parametrize('kind', SPELLINGS)
def test_a_class_is_recognized_in_every_spelling(kind):
    assert names_a(dict(type=kind), MultiSourceDataset, DATASETS)
    assert bare_name(kind) == 'MultiSourceDataset'


def test_subclasses_count_and_other_classes_do_not():
    assert names_a(dict(type=Derived), MultiSourceDataset, DATASETS)
    for settings in (dict(type='ConcatDataset'), dict(type='Unheard'), dict(type='a.b.Unheard'), dict(), None, 'text'):
        assert not names_a(settings, MultiSourceDataset, DATASETS)
    assert names_a(dict(type='mmengine.AmpOptimWrapper'), AmpOptimWrapper, OPTIM_WRAPPERS)


@pytest.mark.parametrize('kind', ['mmdet.CocoDataset', 'mmdet.datasets.coco.CocoDataset'])
def test_the_type_of_a_library_is_found_and_called_with_its_scope(kind):
    from mmdet.datasets import CocoDataset

    assert type_of(dict(type=kind), DATASETS) is CocoDataset
    assert type_of(dict(type='CocoDataset', _scope_='mmdet'), DATASETS) is CocoDataset
    assert registered_name(kind) == registered_name(CocoDataset) == 'mmdet.CocoDataset'


def test_names_are_those_that_build_the_same_class_in_every_scope():
    import mmdet.datasets  # which has a ConcatDataset of its own

    assert mmdet.datasets.ConcatDataset is not ConcatDataset
    assert registered_name(ConcatDataset) == 'mmengine.ConcatDataset'
    assert registered_name(XLearnerResNet) == 'XLearnerResNet'
    assert registered_name('torch.optim.SGD') == registered_name(torch.optim.SGD) == 'SGD'
    assert registered_name(Derived) == f'{__name__}.Derived'
    assert registered_name('LoadImageFromFile') == 'LoadImageFromFile'


def test_settings_get_registered_names_at_every_depth():
    norm = dict(type=torch.nn.BatchNorm2d, eps=1e-3)
    found = with_registered_names(dict(stages=[dict(type=XLearnerResNet, norm_cfg=norm)], note='a.b'))
    assert found == dict(stages=[dict(type='XLearnerResNet', norm_cfg=dict(type='BN', eps=1e-3))], note='a.b')
    assert plain(dict(type=XLearnerResNet, out_indices=(0, 1))) == dict(type='XLearnerResNet', out_indices=[0, 1])


@pytest.mark.parametrize('kind', ['XLearnerResNet', 'mmengine.XLearnerResNet', XLearnerResNet])
def test_our_backbone_means_the_same_in_every_scope_and_a_prefix_its_library(kind):
    assert without_library_defaults(dict(type=kind, depth=18))['library'] == 'mmseg'
    assert 'library' not in without_library_defaults(dict(type='mmdet.XLearnerResNet', depth=18))


@pytest.mark.parametrize('kind', ['Pretrained', 'mmengine.Pretrained', PretrainedInit])
def test_the_checkpoint_of_an_init_cfg_is_found_in_every_spelling(kind):
    entry = dict(type=kind, checkpoint='weights.pth')
    other = dict(type='Constant', val=1, layer='Conv2d')
    assert start_of([other, entry]) == (entry, [other])
    assert MODELS.build(dict(type='XLearnerResNet', depth=18, init_cfg=entry)).pretrained_cfg == entry


@pytest.mark.parametrize(
    ('config', 'registry', 'message'),
    [
        (
            dict(type='PackDetInputs'),
            'TRANSFORMS',
            r"no transform 'PackDetInputs' .*mmengine, but mmdet",
        ),
        (
            dict(type='LinearClsHead'),
            'MODELS',
            r"no model 'LinearClsHead' .* mmpretrain has it.*_scope_='mmp",
        ),
        (
            dict(type='IoUMetric', _scope_='mmdet'),
            'METRICS',
            r"no metric 'IoUMetric' .* of mmdet, but mmseg has",
        ),
        (dict(type='PackDetInput', _scope_='mmdet'), 'TRANSFORMS', r"scope of mmdet; did you mean 'PackDetInputs'\?"),
    ],
)
def test_a_type_of_another_library_is_explained_with_its_scope(config, registry, message):
    with pytest.raises(KeyError) as caught:
        getattr(mmengine.registry, registry).build(config)
    assert re.search(message, missing_type(caught.value))
    assert missing_type(KeyError('x')) is None
    assert missing_type(ValueError('X is not in the model registry')) is None
