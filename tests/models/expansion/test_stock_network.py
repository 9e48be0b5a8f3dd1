import pytest

from xlearner_mm.datasets import SourceError, parse_sources
from xlearner_mm.models.expansion.stock_network import build_stock_network
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_classifier, tiny_detector, tiny_expanded, tiny_segmentor


@pytest.fixture(scope='module')
def expanded():
    return MODELS.build(tiny_expanded())


def build(expanded, task, network):
    source = dict(task=task, batch_size=1, dataset=dict(type='X'), network=network)
    return build_stock_network(parse_sources(dict(coco=source))['coco'], expanded)


@pytest.mark.parametrize(
    ('task', 'network'), [('cls', tiny_classifier()), ('det', tiny_detector()), ('seg', tiny_segmentor())]
)
def test_the_network_is_stock_and_its_backbone_owns_no_parameter(expanded, task, network):
    built = build(expanded, task, network)
    assert type(built).__module__.split('.')[0] == network['_scope_']
    assert not list(built.backbone.parameters())


@pytest.mark.parametrize(
    ('task', 'network', 'message'),
    [
        ('depth', tiny_segmentor(), r"source 'coco': unknown task 'depth'; .* serves \['cls', 'det', 'seg'\]"),
        ('cls', tiny_classifier(in_channels=64), "head.in_channels is 64, but the branch of task 'cls' gives 32"),
        ('det', tiny_detector(in_channels=(4, 8, 16, 64)), r'neck.in_channels is \[4, 8, 16, 64\].*\[4, 8, 16, 32\]'),
        ('seg', tiny_segmentor(in_channels=(4, 8, 16, 64)), r'decode_head.in_channels'),
        ('det', {**tiny_detector(), 'backbone': dict(out_indices=(0, 1, 2, 4))}, r'reads level\(s\) \[4\]'),
        ('cls', {}, '`network` is missing'),
    ],
)
def test_what_does_not_fit_is_refused_by_source(expanded, task, network, message):
    with pytest.raises(SourceError, match=f"source 'coco'.*{message}|{message}"):
        build(expanded, task, network)


def test_a_network_that_builds_its_backbone_inside_is_refused(expanded):
    class Stubborn(type(build(expanded, 'cls', tiny_classifier()))):
        def __init__(self, backbone, **kwargs):
            super().__init__(backbone=dict(type='ResNet', depth=18), **kwargs)

    MODELS.register_module(name='StubbornClassifier', module=Stubborn, force=True)
    network = {**tiny_classifier(), 'type': 'StubbornClassifier'}
    with pytest.raises(SourceError, match="source 'coco': Stubborn builds its backbone inside"):
        build(expanded, 'cls', network)
