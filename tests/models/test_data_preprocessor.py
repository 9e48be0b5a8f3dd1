"""Input normalization of sources is compared as their networks see it, in any loading order."""

import copy

import pytest
import torch
from mmengine.hub import get_config

from xlearner_mm.errors import ConfigError, SourceError
from xlearner_mm.models.data_preprocessor import pass_contiguous_where_misread
from xlearner_mm.models.norms import ragged
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import CHANNELS, tiny_batch, tiny_classifier, tiny_expanded, tiny_resnet, tiny_sources

from ..engine.tiny_squeeze import tiny_squeeze, write_teacher

STATED = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 'rgb']
PACK = dict(type='PackInputs')
FILES = dict(_scope_='mmpretrain', type='CustomDataset', data_root='d', pipeline=[dict(type='LoadImageFromFile'), PACK])
CIFAR = dict(_scope_='mmpretrain', type='CIFAR10', data_root='d', pipeline=[PACK])
GRAY = dict(CIFAR, type='MNIST')
DATASETS = dict(files=FILES, cifar=CIFAR, gray=GRAY)


def source(dataset, to_rgb, validation=None, **preprocessor):
    network = tiny_classifier()
    network['data_preprocessor'].update(to_rgb=to_rgb, **preprocessor)
    settings = dict(task='cls', batch_size=2, dataset=dataset, network=network)
    if validation is not None:
        settings.update(val_dataloader=dict(batch_size=2, dataset=validation), val_evaluator=dict(type='Accuracy'))
    return copy.deepcopy(settings)


def learner(hints=None, **sources):
    backbone = tiny_expanded('cls')
    return MODELS.build(dict(type='ExpansionLearner', backbone=backbone, sources=sources, hints=hints or {}))


@pytest.mark.parametrize(
    ('given', 'order'),
    [
        (dict(files=True), 'rgb'),
        (dict(cifar=False), 'rgb'),
        (dict(files=True, cifar=False), 'rgb'),
        (dict(files=False, cifar=True), 'bgr'),
        (dict(gray=True, files=False), 'bgr'),
        (dict(gray=False), 'rgb'),
    ],
)
def test_sources_agree_in_what_the_backbone_sees(given, order):
    built = learner(**{name: source(DATASETS[name], to_rgb) for name, to_rgb in given.items()})
    assert built.describe()['normalization'] == [*STATED[:2], order]


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (
            dict(files=True, cifar=True),
            "source 'cifar'.*loaded in rgb.*channels bgr.*'files'.*channels rgb.*to_rgb=False",
        ),
        (
            dict(cifar=False, files=False),
            "source 'files'.*loaded in bgr.*channels bgr.*'cifar'.*channels rgb.*to_rgb=True",
        ),
        (dict(gray=False, files=True, cifar=True), "source 'cifar'.*to_rgb=False"),
    ],
)
def test_a_source_in_another_channel_order_is_refused_with_the_fix(given, message):
    with pytest.raises(SourceError, match=message):
        learner(**{name: source(DATASETS[name], to_rgb) for name, to_rgb in given.items()})


def test_a_source_of_another_mean_is_refused():
    with pytest.raises(SourceError, match=r"source 'cifar'.*\(mean, std\)"):
        learner(files=source(FILES, True), cifar=source(CIFAR, False, mean=[125.0, 123.0, 114.0]))


def test_validation_images_are_loaded_as_those_to_train_on():
    assert learner(cifar=source(CIFAR, False, validation=dict(CIFAR, split='test')))
    with pytest.raises(SourceError, match="source 'cifar'.*training images.*rgb.*validation images.*bgr"):
        learner(cifar=source(CIFAR, False, validation=FILES))


@pytest.fixture
def teacher(tmp_path):
    """A function that returns the settings of a hint, with a checkpoint that says nothing of its images."""
    path = str(tmp_path / 'teacher.pth')
    torch.save({'state_dict': MODELS.build(tiny_resnet()).state_dict()}, path)

    def settings(to_rgb, **more):
        preprocessor = dict(tiny_classifier()['data_preprocessor'], to_rgb=to_rgb, _scope_='mmpretrain')
        return dict(model=tiny_resnet(), checkpoint=path, data_preprocessor=preprocessor, **more)

    return settings


def test_hint_teachers_normalize_the_images_of_their_source(teacher):
    assert learner(dict(cifar=teacher(to_rgb=False)), cifar=source(CIFAR, False))
    assert learner(dict(cifar=teacher(to_rgb=True, channel_order='bgr')), cifar=source(CIFAR, False))
    with pytest.raises(ConfigError, match=r"source 'cifar' .*normalization .*channels bgr\)"):
        learner(dict(cifar=teacher(to_rgb=True)), cifar=source(CIFAR, False))
    with pytest.raises(ConfigError, match="channel_order is 'gbr'"):
        learner(dict(cifar=teacher(to_rgb=True, channel_order='gbr')), cifar=source(CIFAR, False))
    with pytest.raises(ConfigError, match=r"channel_order='rgb'.*data_preprocessor, but none is given"):
        learner(
            dict(cifar=dict(teacher(to_rgb=True, channel_order='rgb'), data_preprocessor=None)),
            cifar=source(CIFAR, False),
        )


def expansion(memory_format):
    torch.manual_seed(0)
    settings = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources())
    return MODELS.build(dict(settings, memory_format=memory_format))


def squeeze(memory_format, folder):
    torch.manual_seed(0)
    return MODELS.build(dict(tiny_squeeze(write_teacher(folder / 'teacher.pth')), memory_format=memory_format))


def step(model):
    """Losses, gradients and memory formats of the features of a step."""
    formats = set()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _module, _args, out: formats.add(out.is_contiguous(memory_format=torch.channels_last))
            )
    model.train()
    losses, logs = model.parse_losses(model(**model.data_preprocessor(tiny_batch(), True), mode='loss'))
    losses.backward()
    return logs, {name: p.grad for name, p in model.named_parameters()}, formats


@pytest.mark.parametrize('stage', ['expansion', 'squeeze'])
def test_channels_last_computes_the_same(tmp_path, stage):
    def build(memory_format):
        return expansion(memory_format) if stage == 'expansion' else squeeze(memory_format, tmp_path)

    logs, gradients, _ = step(build('contiguous'))
    model = build('channels_last')
    other_logs, other_gradients, formats = step(model)
    assert True in formats
    assert all(parameter.is_contiguous() for parameter in model.parameters())
    torch.testing.assert_close(other_logs, logs, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients.items():
        scale = 1e-5 * gradient.abs().max().clamp_min(1)
        torch.testing.assert_close(other_gradients[name], gradient, rtol=1e-4, atol=float(scale), msg=name)


def test_operators_of_mmcv_read_the_features_right_in_channels_last():
    """Their kernels take any memory for contiguous."""
    sources = tiny_sources()
    detector = get_config('mmdet::_base_/models/faster-rcnn_r50_fpn.py').model.to_dict()
    detector['neck'] = dict(detector['neck'], in_channels=list(CHANNELS))
    detector |= {key: sources['boxes']['network'][key] for key in ('_scope_', 'data_preprocessor', 'backbone')}
    sources['boxes']['network'] = detector
    settings = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=sources, memory_format='channels_last')
    model = MODELS.build(settings)
    network, levels, seen = model.networks['boxes'], [], []
    network.neck.register_forward_hook(lambda _module, _args, out: levels.extend(out))
    for align in network.roi_head.bbox_roi_extractor.roi_layers:
        align.register_forward_hook(lambda module, args, out: seen.append((module, args, out)))
    step(model)
    assert not all(level.is_contiguous() for level in levels)
    assert any(len(out) for _, _, out in seen)
    for module, (features, boxes), out in seen:
        assert any(torch.equal(features, level) for level in levels)
        assert torch.equal(out, module.forward(features.clone(memory_format=torch.contiguous_format), boxes))


@pytest.mark.parametrize(
    ('settings', 'contiguous'),
    [
        (dict(in_channels=4, kernel_size=1, stride=2), True),
        (dict(in_channels=8, kernel_size=1, stride=2), False),
        (dict(in_channels=4, kernel_size=1, stride=1), False),
        (dict(in_channels=4, kernel_size=3, stride=2, padding=1), False),
    ],
)
def test_narrow_strided_projections_read_contiguous_features(settings, contiguous):
    """With AVX2 alone, oneDNN would write the weights' gradient out of bounds."""
    model, seen = torch.nn.Sequential(torch.nn.Conv2d(out_channels=8, **settings)), []
    pass_contiguous_where_misread(model)
    model[0].register_forward_hook(lambda _module, args, _out: seen.append(args[0]))
    images = torch.rand(2, settings['in_channels'], 16, 16).contiguous(memory_format=torch.channels_last)
    model(images).sum().backward()
    assert torch.equal(seen[0], images)
    assert seen[0].is_contiguous() == contiguous


def test_they_do_so_in_batches_of_several_image_sizes_too():
    model, seen = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 1, stride=2)), []
    pass_contiguous_where_misread(model)
    model[0].register_forward_hook(lambda _module, args, _out: seen.append(args[0]))
    model(ragged([torch.rand(2, 4, side, side).contiguous(memory_format=torch.channels_last) for side in (8, 16)]))
    assert [part.is_contiguous() for part in seen[0].parts] == [True, True]


def test_an_unknown_memory_format_is_refused():
    with pytest.raises(ConfigError, match="'channel_last'.*'channels_last'"):
        expansion('channel_last')
