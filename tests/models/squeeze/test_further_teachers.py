"""X-Learner++'s squeeze: frozen models beside the branches teach the student."""

import copy

import pytest
import torch

from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_resnet

from ..expansion.test_branch import MMDET_SWIN
from .test_fitnet_distiller import unequal_images

NORMALIZATION = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
STATED = [NORMALIZATION['mean'], NORMALIZATION['std'], 'rgb']


@pytest.fixture
def further(tmp_path):
    """The config of a further teacher, a backbone of its own width."""

    def further(model=None, meta=None, **settings):
        model = model or tiny_resnet(base_channels=6)
        torch.manual_seed(7)
        path = tmp_path / 'further.pth'
        meta = dict(normalization=STATED) if meta is None else meta
        torch.save(dict(state_dict=MODELS.build(model).state_dict(), meta=meta), path)
        return dict(model=model, checkpoint=str(path), **settings)

    return further


def losses_of(distiller, batch=None):
    return distiller(**distiller.data_preprocessor(batch or tiny_batch(), True), mode='loss')


@pytest.mark.parametrize('supervise', ['all', 'own'])
def test_losses_of_further_teachers_are_fitnets_on_all_images(build, further, supervise):
    cfg = further(weight=0.5, levels=(1, 3))
    settings = dict(supervise=supervise, source_weights=dict(boxes=3.0))
    distiller = build(further_teachers=dict(imagenet=cfg), standardize=None, **settings).eval()
    images = unequal_images()
    losses = distiller(images, mode='loss')
    assert {name for name in losses if 'imagenet' in name} == {'loss_imagenet_1', 'loss_imagenet_3'}
    T = MODELS.build(cfg['model']).eval()
    T.load_state_dict(torch.load(cfg['checkpoint'], weights_only=True)['state_dict'])
    for i in (1, 3):
        G = distiller.guidance[f'imagenet_{i}'].conv
        of_source = {s: ((T(x)[i] - G(distiller.student(x)[i])) ** 2).mean() for s, x in images.items()}
        wanted = 0.5 * (3 * of_source['boxes'] + of_source['birds'] + of_source['cars'] + of_source['masks']) / 6
        torch.testing.assert_close(losses[f'loss_imagenet_{i}'], wanted, rtol=1e-4, atol=1e-5)


def test_channels_are_measured_and_targets_standardized(build, further):
    distiller = build(further_teachers=dict(imagenet=further()))
    widths = [distiller.guidance[f'imagenet_{i}'].conv.out_channels for i in range(4)]
    assert widths == [6, 12, 24, 48]
    losses_of(distiller.train())
    assert distiller.standardizers['imagenet_2'].count > 0


def test_a_further_teacher_does_not_reduce_the_branches_weights(build, further):
    torch.manual_seed(3)
    alone = build(standardize=None).eval()
    both = build(further_teachers=dict(imagenet=further()), standardize=None).eval()
    both.load_state_dict(alone.state_dict(), strict=False)
    found = losses_of(both)
    assert all(torch.equal(loss, found[name]) for name, loss in losses_of(alone).items())


def test_a_teacher_of_another_family_is_accepted(build, further):
    distiller = build(further_teachers=dict(swin=further(MMDET_SWIN)))
    assert {name for name in losses_of(distiller) if 'swin' in name} == {f'loss_swin_{i}' for i in range(4)}


def test_a_further_teacher_is_unchanged_by_training_and_not_saved(build, further):
    distiller = build(further_teachers=dict(imagenet=further()))
    teacher = distiller.further_teachers['imagenet'].module
    before = copy.deepcopy(teacher.state_dict())
    distiller.train()
    distiller.parse_losses(losses_of(distiller))[0].backward()
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert not any(module.training for module in teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not {id(p) for p in teacher.parameters()} & {id(p) for p in distiller.parameters()}
    assert {key.split('.')[0] for key in distiller.state_dict()} == {'student', 'guidance', 'standardizers'}


def test_a_further_teacher_moves_and_converts_with_the_distiller(build, further):
    distiller = build(further_teachers=dict(imagenet=further())).double()
    teacher = distiller.further_teachers['imagenet'].module
    assert {p.dtype for p in teacher.parameters()} == {torch.float64}


def test_the_checkpoint_records_its_teacher_and_resuming_checks_it(build, further):
    distiller = build(further_teachers=dict(imagenet=further()))
    described = distiller.describe()
    assert described['further_teachers']['imagenet'] == distiller.further_teachers['imagenet'].described()
    described['further_teachers']['imagenet'] = dict(checkpoint='gone.pth', sha256='0' * 64)
    with pytest.raises(CheckpointError, match="further teacher 'imagenet' .* began with: gone.pth, .* is missing now"):
        distiller.check_resumed(described)


def test_normalization_of_a_stock_preprocessor(build, further):
    preprocessor = dict(_scope_='mmdet', type='DetDataPreprocessor', bgr_to_rgb=True, **NORMALIZATION)
    build(further_teachers=dict(imagenet=further(meta={}, data_preprocessor=preprocessor)))


@pytest.mark.parametrize(
    ('name', 'settings', 'error', 'message'),
    [
        ('det', {}, ConfigError, "further teacher 'det'.*name of a branch"),
        ('image net', {}, ConfigError, "further teacher 'image net'.*identifier"),
        ('it', dict(levels=(4,)), ConfigError, r"levels \[4\].*'it'.*\[0, 1, 2, 3\]"),
        ('it', dict(levels=()), ConfigError, r'levels.*at least one.*\(\)'),
        (
            'it',
            dict(weight=-1.0),
            ConfigError,
            "further teacher 'it': weight.*not negative, got -1.0",
        ),
        ('it', dict(wieght=2.0), ConfigError, "further teacher 'it': unknown setting 'wieght'; did you mean 'weight'"),
        ('it', dict(meta={}), ConfigError, "further teacher 'it': .* does not say how its images were normalized"),
        (
            'it',
            dict(meta=dict(normalization=[[0.0] * 3, [255.0] * 3, 'rgb'])),
            ConfigError,
            r"further teacher 'it'.*normalization .*mean \[0.0.*sources.*mean \[123",
        ),
        (
            'it',
            dict(model=dict(_scope_='mmpretrain', type='VisionTransformer', arch='deit-tiny', img_size=224)),
            ConfigError,
            r"further teacher 'it': VisionTransformer returns \(a tensor of shape \(1, 192\)\), expected a tuple",
        ),
    ],
)
def test_invalid_combinations_are_refused_at_build(build, further, name, settings, error, message):
    with pytest.raises(error, match=message):
        build(further_teachers={name: further(**settings)})


def test_a_teacher_without_checkpoint_is_refused(build):
    with pytest.raises(ConfigError, match=r"further teacher 'it' lacks \['checkpoint'\]"):
        build(further_teachers=dict(it=dict(model=tiny_resnet())))


def test_a_foundation_model_teaches_the_level_of_its_stride_and_is_resumed_by_hash(build, tmp_path):
    pytest.importorskip('timm')
    model = dict(
        type='FoundationBackbone', name='timm/vit_tiny_patch16_224', embed_dim=12, depth=1, num_heads=2, reg_tokens=2
    )
    path = tmp_path / 'vit.pth'
    torch.save(MODELS.build(model).model.state_dict(), path)
    distiller = build(further_teachers=dict(vit=dict(model=model, checkpoint=str(path), weight=2.0)), standardize=None)
    teacher = distiller.further_teachers['vit']
    images = unequal_images()
    losses = distiller.eval()(images, mode='loss')
    assert [name for name in losses if 'vit' in name] == ['loss_vit_2']
    G = distiller.guidance['vit_2']
    shown = {source: teacher.features(x)[2] for source, x in images.items()}
    found = [((T - G(distiller.student(images[s])[2], T.shape[-2:])) ** 2).mean() for s, T in shown.items()]
    torch.testing.assert_close(losses['loss_vit_2'], 2 * sum(found) / len(found), rtol=1e-4, atol=1e-5)
    assert not any('vit' in key and 'guidance' not in key for key in distiller.state_dict())
    described = copy.deepcopy(distiller.describe())
    torch.save(MODELS.build(model).model.state_dict(), path)
    other = build(further_teachers=dict(vit=dict(model=model, checkpoint=str(path))))
    with pytest.raises(CheckpointError, match='vit.*has changed since'):
        other.check_resumed(described)
