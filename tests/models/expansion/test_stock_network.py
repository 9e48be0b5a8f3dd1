import pytest
import torch
from mmengine.logging import MMLogger

from xlearner_mm.datasets import parse_sources
from xlearner_mm.errors import SourceError
from xlearner_mm.models.expansion.stock_network import TaskPort, build_stock_network
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_classifier, tiny_detector, tiny_expanded, tiny_segmentor


def without(network, setting):
    return {key: value for key, value in network.items() if key != setting}


def with_head(network, *dropped, **changes):
    head = {key: value for key, value in network['decode_head'].items() if key not in dropped}
    return {**network, 'decode_head': {**head, **changes}}


DEEPLAB = with_head(
    tiny_segmentor(),
    *('input_transform', 'num_convs', 'kernel_size', 'concat_input'),
    type='DepthwiseSeparableASPPHead',
    in_channels=32,
    in_index=3,
    c1_in_channels=64,
    c1_channels=4,
)
CHANNEL_MAPPER = {
    **tiny_detector(),
    'backbone': dict(out_indices=(3,)),
    'neck': dict(type='ChannelMapper', in_channels=[64], out_channels=8, num_outs=3),
}
CSRA_HEAD = dict(type='CSRAClsHead', num_classes=5, in_channels=64, num_heads=1, lam=0.1)
CSRA = {**tiny_classifier(), 'neck': None, 'head': CSRA_HEAD}


@pytest.fixture(scope='module')
def expanded():
    return MODELS.build(tiny_expanded())


@pytest.fixture
def log(caplog):
    """Records of mmengine's logger, which does not propagate to the root logger."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


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
        ('cls', without(tiny_classifier(), 'data_preprocessor'), 'no data_preprocessor .*copy it into `network`'),
        ('seg', with_head(tiny_segmentor(), in_index=(1, 2, 3, 4)), r'in_index is \(1, 2, 3, 4\).* only 4 level'),
        ('seg', DEEPLAB, 'decode_head.c1_in_channels is 64, but .* gives 4'),
        ('det', CHANNEL_MAPPER, r'neck.in_channels is \[64\], but .* gives 32'),
        ('cls', CSRA, 'head.in_channels is 64, but .* gives 32'),
    ],
)
def test_mismatched_networks_are_refused_by_source(expanded, task, network, message):
    with pytest.raises(SourceError, match=f"source 'coco'.*{message}|{message}"):
        build(expanded, task, network)


def yolo(in_channels):
    neck = dict(type='YOLOV3Neck', num_scales=3, in_channels=in_channels, out_channels=(16, 8, 4))
    head = dict(type='YOLOV3Head', num_classes=2, in_channels=[16, 8, 4], out_channels=[16, 8, 4])
    detector = tiny_detector()
    return {
        '_scope_': 'mmdet',
        'type': 'YOLOV3',
        'data_preprocessor': detector['data_preprocessor'],
        'backbone': dict(out_indices=(1, 2, 3)),
        'neck': neck,
        'bbox_head': head,
    }


def test_a_neck_that_lists_its_levels_from_the_last_one_is_compared_so(expanded):
    built = build(expanded, 'det', yolo([32, 16, 8]))
    assert len(built.extract_feat(torch.zeros(1, 3, 64, 64))) == 3
    with pytest.raises(SourceError, match=r'neck.in_channels is \[8, 16, 32\], but .*\[32, 16, 8\]'):
        build(expanded, 'det', yolo([8, 16, 32]))


def test_a_network_that_builds_its_backbone_inside_is_refused(expanded):
    class Stubborn(type(build(expanded, 'cls', tiny_classifier()))):
        def __init__(self, backbone, **kwargs):
            super().__init__(backbone=dict(type='ResNet', depth=18), **kwargs)

    MODELS.register_module(name='StubbornClassifier', module=Stubborn, force=True)
    network = {**tiny_classifier(), 'type': 'StubbornClassifier'}
    with pytest.raises(SourceError, match="source 'coco': Stubborn.*backbone"):
        build(expanded, 'cls', network)


def test_the_first_of_several_necks_reads_the_branch(expanded):
    network = tiny_detector()
    balanced = dict(type='BFP', in_channels=8, num_levels=3, refine_level=1)
    built = build(expanded, 'det', {**network, 'neck': [network['neck'], balanced]})
    assert len(built.extract_feat(torch.zeros(1, 3, 64, 64))) == 3


def test_a_stock_backbones_init_cfg_is_ignored_with_a_warning(expanded, log):
    network = {**tiny_segmentor(), 'pretrained': 'open-mmlab://resnet50_v1c'}
    built = build(expanded, 'seg', network)
    assert not hasattr(built.backbone, 'pretrained')
    assert "source 'coco': the checkpoint of its stock backbone, open-mmlab://resnet50_v1c, is not loaded" in log.text


def test_a_level_without_output_norm_is_refused():
    arch = dict(depths=[1, 1, 1, 1], channels=[4, 8, 16, 32])
    branch = dict(_scope_='mmpretrain', type='ConvNeXt', arch=arch, gap_before_final_norm=False, out_indices=[3])
    expanded = MODELS.build(tiny_expanded(branches=dict(det=branch)))
    with pytest.raises(SourceError, match=r"reads level\(s\) \[0, 1, 2\].* branch 'det' \(ConvNeXt\).*set out_indices"):
        build(expanded, 'det', tiny_detector())


class Features:
    def forward_task(self, x, task):
        return tuple(x + level for level in range(4))


def test_a_port_returns_the_levels_its_network_reads():
    port = TaskPort('det', out_indices=(1, 3))
    port.bind(Features().forward_task)
    assert [float(f) for f in port(torch.zeros(()))] == [1.0, 3.0]


def test_a_port_reuses_features_computed_for_the_same_input():
    port = TaskPort('det', out_indices=(0,))
    port.bind(Features().forward_task)
    x = torch.zeros(())
    with port.serving(x, (torch.tensor(9.0),)):
        assert port(x)[0] == 9
        assert port(torch.zeros(()))[0] == 0
    assert port(x)[0] == 0


def test_an_unbound_port_is_an_error():
    with pytest.raises(RuntimeError, match="port.*task 'det'.*not bound"):
        TaskPort('det')(torch.zeros(1))
