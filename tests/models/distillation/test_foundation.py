"""Backbones of timm and mmpretrain teach: maps of patch tokens, levels by stride, images in their own normalization."""

import copy

import pytest
import torch
import torch.nn.functional as F

from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.distillation.foundation import FoundationBackbone, ImageSizes
from xlearner_mm.models.distillation.teachers import BackboneTeacher
from xlearner_mm.normalization import Normalization
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_resnet, tiny_sources

timm = pytest.importorskip('timm')

VIT = dict(
    type='FoundationBackbone',
    name='timm/vit_tiny_patch16_224',
    embed_dim=12,
    depth=2,
    num_heads=2,
    reg_tokens=2,
)
TINY_ARCH = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24)
DINOV2 = dict(
    type='FoundationBackbone', name='mmpretrain::dinov2/vit-small-p14_dinov2-pre_headless', arch=TINY_ARCH, img_size=28
)
RESNET18 = 'mmpretrain::resnet/resnet18_8xb32_in1k'
CONVNEXT = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k'
SWIN = 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k'
SMALL_SWIN = dict(arch=dict(embed_dims=12, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 4]))
HALVES = Normalization((127.5,) * 3, (127.5,) * 3, 'rgb')


def built(config, **settings):
    torch.manual_seed(3)
    backbone = MODELS.build({**config, **settings}).eval()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return backbone


@pytest.fixture
def saved(tmp_path):
    """The config of a teacher with a checkpoint of random weights."""

    def saved(model, prefix='', **settings):
        path = tmp_path / 'foundation.pth'
        torch.save({f'{prefix}{key}': value for key, value in built(model).model.state_dict().items()}, path)
        return dict(model=model, checkpoint=str(path), **settings)

    return saved


def test_the_map_is_that_of_the_patch_tokens_without_class_and_register_tokens():
    backbone, x = built(VIT), torch.randn(2, 3, 32, 48)
    tokens = backbone.model.forward_features(x)
    assert tokens.shape == (2, 1 + 2 + 6, 12)
    wanted = torch.stack([tokens[:, 3 + row * 3 : 6 + row * 3] for row in range(2)], dim=1).permute(0, 3, 1, 2)
    (found,) = backbone(x)
    torch.testing.assert_close(found, wanted)
    assert backbone.out_indices == (2,)


def test_mmpretrains_vision_transformers_give_maps_too():
    backbone, x = built(DINOV2), torch.randn(2, 3, 28, 42)
    (found,) = backbone(x)
    assert found.shape == (2, 12, 2, 3)
    settings = dict(arch=TINY_ARCH, img_size=28, patch_size=14, layer_scale_init_value=1e-5, out_type='raw')
    raw = MODELS.build(dict(type='VisionTransformer', _scope_='mmpretrain', **settings))
    raw.eval()
    raw.load_state_dict(backbone.model.state_dict())
    tokens = raw(x)[0][:, 1:]
    torch.testing.assert_close(found, tokens.transpose(1, 2).reshape(2, 12, 2, 3))
    assert backbone.out_indices == (2,)
    assert backbone.normalization == Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 'rgb')


@pytest.mark.parametrize(('config', 'size', 'resized'), [(VIT, (40, 50), (48, 64)), (DINOV2, (30, 28), (42, 28))])
def test_images_are_resized_to_whole_patches(config, size, resized):
    backbone, x = built(config), torch.randn(1, 3, *size)
    wanted = backbone(F.interpolate(x, resized, mode='bilinear', align_corners=False))
    torch.testing.assert_close(backbone(x), wanted)


@pytest.mark.parametrize('size', [(64, 96), (70, 50)])
def test_images_of_a_cnn_of_one_output_are_not_resized(size):
    backbone, x = built(dict(type='FoundationBackbone', name=RESNET18)), torch.randn(1, 3, *size)
    assert (backbone.out_indices, backbone.sizes) == ((3,), ImageSizes())
    torch.testing.assert_close(backbone(x), tuple(backbone.model(x)))


def test_the_last_output_of_mmpretrains_convnext_is_a_map_too():
    tiny = dict(arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 64]))
    backbone = built(dict(type='FoundationBackbone', name=CONVNEXT, **tiny))
    (found,) = backbone(torch.randn(1, 3, 64, 96))
    assert (found.shape, backbone.out_indices, backbone.sizes) == ((1, 64, 2, 3), (3,), ImageSizes())


@pytest.mark.parametrize(
    ('name', 'own'),
    [
        ('cait_xxs24_224', (224, 224)),
        ('vit_relpos_small_patch16_224', (224, 224)),
        ('mixer_s32_224', (224, 224)),
        ('maxvit_rmlp_pico_rw_256', (256, 256)),
        ('hiera_tiny_224', (224, 224)),
    ],
)
def test_images_are_resized_to_the_size_of_a_model_that_takes_no_other(name, own):
    backbone, x = FoundationBackbone(f'timm/{name}').eval(), torch.randn(1, 3, 96, 80)
    assert backbone.sizes == ImageSizes(only=own)
    with torch.no_grad():
        wanted = backbone(F.interpolate(x, own, mode='bilinear', align_corners=False))
        torch.testing.assert_close(backbone(x), wanted)
    assert FoundationBackbone('timm/resnet18').sizes == ImageSizes()


@pytest.mark.parametrize(
    ('name', 'settings', 'multiple'),
    [
        (SWIN, SMALL_SWIN, 1),
        ('timm/swin_tiny_patch4_window7_224', dict(embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)), 4),
        ('timm/convnext_atto', {}, 1),
    ],
)
def test_a_model_of_several_strides_takes_images_of_any_size(name, settings, multiple):
    backbone = built(dict(type='FoundationBackbone', name=name), **settings)
    assert (backbone.sizes.only, backbone.sizes.multiple) == (None, multiple)
    x = torch.randn(1, 3, 300, 333)
    whole = [-(-side // multiple) * multiple for side in x.shape[-2:]]
    with torch.no_grad():
        found = backbone(x)
        seen = F.interpolate(x, whole, mode='bilinear', align_corners=False) if multiple > 1 else x
        if name == SWIN:
            torch.testing.assert_close(found, tuple(backbone.model(seen)))
        else:
            assert [level.shape[-2:] for level in found] == [
                level.shape[-2:] for level in backbone.model.forward_intermediates(seen, intermediates_only=True)
            ]


def test_images_smaller_than_the_windows_of_attention_are_enlarged_in_their_aspect():
    backbone = built(dict(type='FoundationBackbone', name=SWIN), **SMALL_SWIN)
    assert backbone.sizes == ImageSizes(least=(224, 224))
    x = torch.randn(1, 3, 64, 96)
    wanted = backbone.model(F.interpolate(x, (224, 336), mode='bilinear', align_corners=False))
    torch.testing.assert_close(backbone(x), tuple(wanted))


@pytest.mark.parametrize(
    ('sizes', 'image', 'expected'),
    [
        (ImageSizes(), (37, 50), (37, 50)),
        (ImageSizes(16), (37, 48), (48, 48)),
        (ImageSizes(least=(224, 224)), (64, 100), (224, 350)),
        (ImageSizes(least=(224, 224)), (300, 149), (452, 224)),
        (ImageSizes(least=(224, 224)), (300, 400), (300, 400)),
        (ImageSizes(32, least=(256, 256)), (200, 300), (256, 384)),
        (ImageSizes(only=(224, 224)), (300, 400), (224, 224)),
    ],
)
def test_the_nearest_size_that_a_model_takes(sizes, image, expected):
    assert sizes.nearest(*image) == expected


def test_a_config_of_mmpretrain_for_larger_images_is_built():
    name = 'mmpretrain::swin_transformer/swin-base_16xb64_in1k-384px'
    backbone = built(dict(type='FoundationBackbone', name=name), **SMALL_SWIN)
    (found,) = backbone(torch.randn(1, 3, 448, 512))
    assert found.shape == (1, 96, 14, 16)


@pytest.mark.parametrize(
    ('name', 'settings'),
    [
        ('deit/deit-tiny-distilled_4xb256_in1k', dict(arch=TINY_ARCH, img_size=32)),
        ('eva02/eva02-tiny-p14_in1k', dict(arch=dict(TINY_ARCH, embed_dims=16), img_size=28)),
        ('efficientformer/efficientformer-l1_8xb128_in1k', {}),
    ],
)
def test_models_of_mmpretrain_with_other_switches_return_maps(name, settings):
    backbone = built(dict(type='FoundationBackbone', name=f'mmpretrain::{name}'), **settings)
    assert all(level.dim() == 4 for level in backbone(torch.zeros(1, 3, 224, 224)))


@pytest.mark.parametrize(
    ('name', 'settings'),
    [
        ('vit_tiny_patch16_224', dict(depth=3, embed_dim=12, num_heads=2, level_map={1: 1, 2: 0})),
        ('swin_tiny_patch4_window7_224', dict(level_map={0: 0, 2: -2})),
        ('convnext_atto', dict(level_map={1: 1})),
        ('resnet18', dict(level_map={1: 1, 3: 2})),
        ('hiera_tiny_224', dict(level_map={0: 0, 1: 3})),
    ],
)
def test_outputs_that_are_taken_alone_are_those_of_the_whole_model(name, settings):
    backbone = FoundationBackbone(f'timm/{name}', **settings).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        every = backbone.model.forward_intermediates(x, intermediates_only=True, norm=name.startswith('vit'))
        for found, output in zip(backbone(x), dict(sorted(settings['level_map'].items())).values(), strict=True):
            torch.testing.assert_close(found, every[output], rtol=0, atol=0)


@pytest.mark.parametrize('name', ['timm/vit_base_patch16_224', 'timm/vit_base_patch16_224.mae'])
def test_weights_of_unlike_normalizations_need_their_tag(name, saved):
    settings = dict(embed_dim=12, depth=1, num_heads=2)
    config = saved(dict(type='FoundationBackbone', name=name, **settings))
    if '.' in name:
        teacher = BackboneTeacher(**config, what='teacher')
        assert teacher.normalization == Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 'rgb')
        return
    with pytest.raises(
        ConfigError, match=r"vit_base_patch16_224: .*unlike.*name='timm/vit_base_patch16_224\.\w+'.*'mae'"
    ):
        BackboneTeacher(**config, what='teacher')
    own = dict(type='ClsDataPreprocessor', _scope_='mmpretrain', mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True)
    teacher = BackboneTeacher(**config, what='teacher', data_preprocessor=own)
    assert teacher.normalization == Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 'rgb')


def test_levels_go_by_stride_or_by_setting():
    x = torch.randn(1, 3, 64, 64)
    pyramid = built(dict(type='FoundationBackbone', name='timm/resnet18'))
    assert pyramid.out_indices == (0, 1, 2, 3)
    assert [level.shape[1:] for level in pyramid(x)] == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    vit = built(VIT, level_map={3: -1, 1: 0})
    assert vit.out_indices == (1, 3)
    first, last = vit(x)
    torch.testing.assert_close((first, last), tuple(vit.model.forward_intermediates(x, norm=True)[1]))


@pytest.mark.parametrize('images', [Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 'bgr'), HALVES])
def test_images_are_converted_to_the_teachers_normalization(images, saved):
    teacher = BackboneTeacher(**saved(VIT), what='teacher')
    assert teacher.normalization == HALVES
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    wanted = teacher.module(HALVES(pixels))
    teacher.check_normalization(images)
    found = teacher.features(images(pixels))
    torch.testing.assert_close(found[2], wanted[0], rtol=1e-5, atol=1e-5)


def test_the_config_may_say_how_a_teacher_was_trained(saved):
    own = dict(type='ClsDataPreprocessor', _scope_='mmpretrain', mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True)
    teacher = BackboneTeacher(**saved(VIT), what='teacher', data_preprocessor=own)
    assert teacher.normalization == Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 'rgb')


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_weights_are_loaded_strictly(prefix, saved, tmp_path):
    cfg = saved(VIT, prefix)
    teacher = BackboneTeacher(**cfg, what='teacher')
    for name, value in built(VIT).model.state_dict().items():
        assert torch.equal(teacher.module.model.state_dict()[name], value)
    other = tmp_path / 'other.pth'
    torch.save(built(VIT, depth=1).model.state_dict(), other)
    with pytest.raises(CheckpointError, match=r'(?s)other.pth.*missing.*blocks\.1'):
        BackboneTeacher(VIT, str(other), 'teacher')
    torch.save(MODELS.build(tiny_resnet()).state_dict(), other)
    with pytest.raises(CheckpointError, match=r'other.pth'):
        BackboneTeacher(VIT, str(other), 'teacher')


def test_of_self_distillation_the_teacher_is_read(tmp_path):
    state = built(VIT).model.state_dict()
    student = {f'backbone.{key}': torch.zeros_like(value) for key, value in state.items()}
    teacher = {f'backbone.{key}': value for key, value in state.items()} | {'dino_head.last.weight': torch.zeros(2)}
    path = tmp_path / 'training.pth'
    for wrapper in ('', 'module.'):
        torch.save({'student': student, 'teacher': {wrapper + key: value for key, value in teacher.items()}}, path)
        found = BackboneTeacher(VIT, str(path), 'teacher')
        for name, value in state.items():
            assert torch.equal(found.module.model.state_dict()[name], value)


@pytest.mark.parametrize('name', ['convnext_atto', 'resnet18', 'levit_128s'])
def test_a_whole_classifier_of_timm_is_loaded_without_its_classifier(name):
    torch.manual_seed(1)
    state = timm.create_model(name).state_dict()
    backbone = FoundationBackbone(f'timm/{name}')
    backbone.load('classifier.pth', state)
    for key, value in backbone.model.state_dict().items():
        assert torch.equal(value, state[key])
    with pytest.raises(CheckpointError, match=r'classifier.pth.*not of this model'):
        backbone.load('classifier.pth', {**state, next(iter(state)) + '.further': torch.zeros(1)})


@pytest.mark.parametrize('name', ['vit_base_patch16_radio_v3', 'vit_so400m_patch16_radio_v4', 'flexivit_small'])
def test_position_embeddings_are_resampled_as_timm_resamples_those_of_that_model(name, tmp_path):
    settings = dict(embed_dim=12, depth=1, num_heads=2, num_classes=0)
    authors = timm.create_model(name, **settings, img_size=160).state_dict()
    authors['pos_embed'] = torch.randn(authors['pos_embed'].shape, generator=torch.Generator().manual_seed(0))
    torch.save(authors, tmp_path / 'authors.pth')
    overlay = dict(file=str(tmp_path / 'authors.pth'), num_classes=0)
    wanted = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **settings, img_size=96)
    del settings['num_classes']
    found = FoundationBackbone(f'timm/{name}', **settings, img_size=96)
    found.load('authors.pth', authors)
    for key, value in wanted.state_dict().items():
        assert torch.equal(found.model.state_dict()[key], value)


@pytest.mark.parametrize('model', [VIT, DINOV2], ids=['timm', 'mmpretrain'])
def test_it_teaches_a_branch_as_a_hint(model, saved):
    hints = dict(birds=saved(model))
    learner = MODELS.build(dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources(), hints=hints))
    learner.init_weights()
    teacher = learner.hints['birds'].teacher
    before = copy.deepcopy(teacher.module.state_dict())
    data = learner.train().data_preprocessor(tiny_batch(), True)
    losses = learner(**data, mode='loss')
    assert {name for name in losses if 'hint' in name} == {'birds.hint_loss_2'}
    losses['birds.hint_loss_2'].backward()
    assert learner.backbone.branches['cls'].stage(2)[0].bn2.weight.grad.abs().sum() > 0
    assert not teacher.module.training
    assert not any(p.requires_grad for p in teacher.module.parameters())
    assert not any('blocks' in key or 'patch_embed' in key or 'layers.' in key for key in learner.state_dict())
    for name, value in teacher.module.state_dict().items():
        assert torch.equal(value, before[name])


def test_unknown_models_and_levels_are_refused():
    for config, message in (
        (dict(name='timm/vit_tiny_patch16_225'), 'vit_tiny_patch16_224'),
        (dict(name='timm/vit_tiny_patch16_224.of_nothing'), 'vit_tiny_patch16_224.of_nothing.*of_nothing'),
        (dict(name='mmpretrain::dinov2/nothing'), 'mmpretrain.*dinov2/nothing'),
        (dict(name='mmpretrain::ofa/ofa-base_finetuned_vqa'), 'ofa-base_finetuned_vqa.*not of a model with a backbone'),
        (dict(name='vit_tiny_patch16_224'), "'timm/<model>'"),
        (dict(VIT, level_map={2: 5}), 'level_map.*-2 to 1'),
        (dict(VIT, level_map={}), 'level_map'),
        (dict(VIT, level_map={2: 'last'}), "level_map.*-2 to 1, got {2: 'last'}"),
        (dict(VIT, level_map=[2]), r'level_map.*got \[2\]'),
        (dict(VIT, depht=3), 'depht'),
    ):
        with pytest.raises(ConfigError, match=message):
            FoundationBackbone(**{key: value for key, value in config.items() if key != 'type'})
