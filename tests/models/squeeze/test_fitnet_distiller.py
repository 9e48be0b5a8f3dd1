import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from torch import nn

from xlearner_mm.engine.optim.wrapper import CpuAmpOptimWrapper
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.squeeze import fitnet_distiller
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_resnet

SWIN = dict(_scope_='mmdet', type='SwinTransformer', embed_dims=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2)


def losses_of(distiller, batch=None):
    data = distiller.data_preprocessor(batch or tiny_batch(), True)
    return distiller(**data, mode='loss')


SIZES = dict(birds=(64, 64), cars=(64, 64), boxes=(96, 64), masks=(32, 96))


def unequal_images(seed=2, **counts):
    """Images of four sources, by default 5 + 2 + 1 + 3, of unlike sizes."""
    generator = torch.Generator().manual_seed(seed)
    counts = {**dict(birds=5, cars=2, boxes=1, masks=3), **counts}
    return {name: torch.randn(count, 3, *SIZES[name], generator=generator) for name, count in counts.items()}


def literal_loss(
    distiller, images, reduction='mean', branches=None, levels=None, sources=None, balance='source', own=False
):
    """The slides' formula, L = sum_t sum_i w_t w_i || F_i^t - G_i^t(Fhat_i) ||^2, image by image.

    ``images`` are those of each source, which may differ in size. For each t, a source has the mean of its images, and
    sources are averaged with weights w_s, or w_s n_s with ``balance='image'``. With ``own``, F^t and Fhat see the
    images of t's own sources only.
    """
    task = dict(birds='cls', cars='cls', boxes='det', masks='seg')
    total = 0.0
    for t in ('cls', 'det', 'seg'):
        shown = {s: x for s, x in images.items() if task[s] == t or not own}
        weight = {s: (sources or {}).get(s, 1) * (len(x) if balance == 'image' else 1) for s, x in shown.items()}
        for source, x in shown.items():
            for image in x:
                Fhat = distiller.student(image[None])
                with torch.no_grad():
                    F = distiller.teacher.learner.backbone.forward_task(image[None], t)
                for i in levels or {0: 1, 1: 1, 2: 1, 3: 1}:
                    G = distiller.guidance[f'{t}_{i}'].conv
                    squares = (F[i] - G(Fhat[i])) ** 2
                    distance = squares.sum() if reduction == 'sum' else squares.mean()
                    share = weight[source] / sum(weight.values()) / len(x)
                    total = total + (branches or {}).get(t, 1) * (levels or {}).get(i, 1) * share * distance
    return total


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@pytest.mark.parametrize('own', [False, True], ids=['all', 'own'])
@pytest.mark.parametrize('balance', [None, 'image'], ids=['source', 'image'])
def test_the_plain_loss_is_the_slides_formula(build, reduction, own, balance):
    sources = dict(cars=3.0, masks=0.5) if reduction == 'mean' else None
    settings = dict(balance=balance) if balance else {}
    distiller = build(
        standardize=None,
        loss=dict(type='FitNetLoss', reduction=reduction),
        supervise='own' if own else 'all',
        source_weights=sources,
        **settings,
    ).eval()
    images = unequal_images()
    total, _ = distiller.parse_losses(distiller(images, mode='loss'))
    wanted = literal_loss(distiller, images, reduction, sources=sources, balance=balance or 'source', own=own)
    torch.testing.assert_close(total, wanted, rtol=1e-5, atol=1e-5)


def test_weights_and_levels_are_those_of_the_formula(build):
    branches, levels = dict(det=2.0, seg=0.0), {1: 0.5, 3: 3.0}
    settings = dict(branch_weights=branches, level_weights=levels, levels=(1, 3))
    distiller = build(standardize=None, **settings).eval()
    images = unequal_images()
    total, _ = distiller.parse_losses(distiller(images, mode='loss'))
    wanted = literal_loss(distiller, images, branches=branches, levels=levels)
    torch.testing.assert_close(total, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('supervise', ['all', 'own'])
@pytest.mark.parametrize('standardize', [None, dict(type='ChannelStandardize')])
def test_no_loss_is_negative_and_none_reaches_the_teacher(build, supervise, standardize):
    distiller = build(supervise=supervise, standardize=standardize)
    distiller.teacher.learner.requires_grad_(True)
    losses = losses_of(distiller)
    assert all(loss >= 0 for loss in losses.values())
    distiller.parse_losses(losses)[0].backward()
    assert all(p.grad is None for p in distiller.teacher.learner.parameters())


def test_there_is_one_loss_per_branch_and_level(build):
    losses = losses_of(build(levels=(1, 3)))
    assert set(losses) == {f'loss_{branch}_{level}' for branch in ('cls', 'det', 'seg') for level in (1, 3)}
    assert all(loss >= 0 for loss in losses.values())


def test_the_loss_is_zero_when_the_student_reproduces_the_teacher(learner_cfg, tmp_path):
    learner_cfg['backbone'] = dict(
        type='XLearnerExpandedBackbone',
        branches=dict(shared=tiny_resnet()),
        tasks=dict(cls='shared', det='shared', seg='shared'),
        reconciliation=dict(topology='none'),
    )
    learner = MODELS.build(learner_cfg)
    learner.init_weights()
    torch.save({'state_dict': learner.state_dict()}, tmp_path / 'a.pth')
    teacher = dict(model=learner_cfg, checkpoint=str(tmp_path / 'a.pth'))
    distiller = MODELS.build(
        dict(type='FitNetDistiller', teacher=teacher, student=tiny_resnet(), standardize=None)
    ).eval()
    distiller.student.load_state_dict(learner.backbone.branches['shared'].backbone.state_dict())
    for layer in distiller.guidance.values():
        layer.conv.weight.data = torch.eye(layer.conv.out_channels)[:, :, None, None]
        layer.conv.bias.data.zero_()
    assert all(loss < 1e-10 for loss in losses_of(distiller).values())


def test_supervise_own_uses_own_images_only(build):
    distiller = build(supervise='own', standardize=None).eval()
    batch = tiny_batch()
    before = losses_of(distiller, batch)
    batch['masks']['inputs'] = tiny_batch(seed=5)['masks']['inputs']
    after = losses_of(distiller, batch)
    assert torch.equal(before['loss_det_2'], after['loss_det_2'])
    assert not torch.equal(before['loss_seg_2'], after['loss_seg_2'])


@pytest.mark.parametrize('supervise', ['all', 'own'])
def test_a_source_of_few_images_weighs_as_much_as_one_of_many(build, supervise):
    """Each source's images are one image repeated: how often does not matter."""
    distiller = build(standardize=None, supervise=supervise).eval()
    one = unequal_images(birds=1, cars=1, boxes=1, masks=1)
    repeats = dict(birds=24, cars=3, boxes=1, masks=2)
    many = {name: images.repeat(repeats[name], 1, 1, 1) for name, images in one.items()}
    wanted = distiller(one, mode='loss')
    for name, loss in distiller(many, mode='loss').items():
        torch.testing.assert_close(loss, wanted[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('balance', ['source', 'image'])
def test_a_source_of_weight_0_is_not_learned_from(build, balance):
    distiller = build(standardize=None, balance=balance, source_weights=dict(boxes=0.0)).eval()
    before = distiller(unequal_images(), mode='loss')
    changed = dict(unequal_images(), boxes=torch.randn(2, 3, 64, 64))
    for name, loss in distiller(changed, mode='loss').items():
        torch.testing.assert_close(loss, before[name], rtol=1e-4, atol=1e-6)


def test_the_loss_weights_of_the_expansion_play_no_part(build, teacher):
    plain = build(standardize=None).eval()
    teacher['model']['sources']['boxes']['loss_weight'] = 0.01
    weighted = build(standardize=None, teacher=teacher).eval()
    weighted.load_state_dict(plain.state_dict())
    wanted = plain(unequal_images(), mode='loss')
    assert all(torch.equal(loss, wanted[name]) for name, loss in weighted(unequal_images(), mode='loss').items())


def test_moments_of_a_step_are_those_of_all_its_sizes_together(build):
    distiller = build().train()
    data = distiller.data_preprocessor(tiny_batch(), True)
    data['inputs']['boxes'] = torch.randn(2, 3, 96, 64)
    distiller(**data, mode='loss')
    features = [distiller.teacher.features(images)['cls'][2] for images in data['inputs'].values()]
    positions = torch.cat([f.transpose(0, 1).flatten(1) for f in features], dim=1)
    torch.testing.assert_close(distiller.standardizers['cls_2'].mean, positions.mean(1), rtol=1e-4, atol=1e-5)


def test_with_standardized_targets_the_scale_of_a_branch_does_not_matter(build):
    distiller = build().train()
    small = losses_of(distiller)['loss_det_3']
    loud = build().train()
    loud.load_state_dict(distiller.state_dict())
    for standardizer in loud.standardizers.values():
        standardizer.count.zero_()
    features = loud.teacher.features
    loud.teacher.features = lambda *args, **kwargs: {
        t: tuple(100 * f for f in levels) for t, levels in features(*args, **kwargs).items()
    }
    torch.testing.assert_close(losses_of(loud)['loss_det_3'], small, rtol=1e-3, atol=1e-3)


def test_the_teacher_is_unchanged_by_training_and_has_no_gradient(build):
    distiller = build()
    learner = distiller.teacher.learner
    before = copy.deepcopy(learner.state_dict())
    optimizer = OptimWrapper(torch.optim.AdamW(distiller.parameters(), lr=1e-2))
    distiller.train()
    for _ in range(2):
        distiller.train_step(tiny_batch(), optimizer)
    assert all(torch.equal(before[key], value) for key, value in learner.state_dict().items())
    assert not any(module.training for module in learner.backbone.modules())
    assert not any(network.backbone.training for network in learner.networks.values())
    assert all(p.grad is None for p in learner.parameters())


def test_the_teacher_is_in_no_checkpoint_and_no_optimizer(build):
    distiller = build()
    assert {key.split('.')[0] for key in distiller.state_dict()} == {'student', 'guidance', 'standardizers'}
    teacher = {id(p) for p in distiller.teacher.learner.parameters()}
    assert not teacher & {id(p) for p in distiller.parameters()}


def test_the_teacher_moves_and_converts_with_its_holder(build):
    distiller = build().double()
    assert {p.dtype for p in distiller.teacher.learner.parameters()} == {torch.float64}


def test_every_parameter_of_student_and_guidance_learns(build):
    distiller = build()
    distiller.parse_losses(losses_of(distiller))[0].backward()
    assert [name for name, p in distiller.named_parameters() if p.grad is None] == []


def test_the_loss_falls_by_training(build):
    distiller = build()
    optimizer = OptimWrapper(torch.optim.AdamW(distiller.parameters(), lr=1e-2))
    first = distiller.train_step(tiny_batch(), optimizer)['loss']
    for _ in range(10):
        last = distiller.train_step(tiny_batch(), optimizer)['loss']
    assert last < 0.8 * first


def test_the_student_can_be_initialized_from_a_branch(build, teacher):
    distiller = build(start_from='det')
    saved = torch.load(teacher['checkpoint'], weights_only=True)['state_dict']
    for key, value in distiller.student.state_dict().items():
        assert torch.equal(value, saved[f'backbone.branches.det.backbone.{key}'])


def test_initialization_from_a_branch_of_another_shape_is_refused(build):
    with pytest.raises(CheckpointError, match='another shape than XLearnerResNet'):
        build(start_from='det', student=tiny_resnet(base_channels=8))


@pytest.mark.parametrize('source', ['birds', 'boxes', 'masks'])
def test_predict_feeds_the_student_to_the_branchs_frozen_heads(build, source):
    distiller = build().eval()
    batch = {source: tiny_batch()[source]}
    first = distiller.val_step(copy.deepcopy(batch))
    distiller.student.conv1.weight.data.mul_(3)
    second = distiller.val_step(copy.deepcopy(batch))
    field = {'birds': 'pred_score', 'boxes': 'pred_instances', 'masks': 'seg_logits'}[source]
    assert str(first[0].get(field)) != str(second[0].get(field))


def test_levels_that_are_not_distilled_are_read_from_the_teacher(build):
    distiller = build(levels=(3,), standardize=None).eval()
    x = torch.randn(1, 3, 64, 64)
    own = distiller.teacher.learner.backbone.forward_task(x, 'det')
    read = distiller.forward_task(x, 'det')
    assert torch.equal(read[0], own[0])
    assert not torch.equal(read[3], own[3])


def mixed_batch():
    batch = tiny_batch()
    batch['cars']['inputs'] = [F.pad(image, (0, 32, 0, 64)) for image in batch['cars']['inputs']]
    return batch


@pytest.mark.parametrize('batch', [tiny_batch, mixed_batch])
@pytest.mark.parametrize('student', [tiny_resnet(), tiny_resnet(with_cp=True), SWIN], ids=['BN', 'checkpointed', 'LN'])
@pytest.mark.parametrize('supervise', ['all', 'own'])
def test_every_norm_sees_all_images_of_a_step_at_once(build, batch, student, supervise):
    """Also of guidance layers, whose student may have none: those of all ranks then talk equally often."""
    distiller = build(student=student, guidance=dict(type='GuidanceLayer', norm=True), supervise=supervise).train()
    distiller = nn.SyncBatchNorm.convert_sync_batchnorm(distiller)
    norms = [norm for norm in distiller.modules() if isinstance(norm, nn.SyncBatchNorm)]
    distiller.parse_losses(losses_of(distiller, batch()))[0].backward()
    assert {norm.num_batches_tracked.item() for norm in norms} == {1}


def test_images_of_one_size_in_two_parts_are_those_of_one_batch(build, monkeypatch):
    whole, images = build(guidance=dict(type='GuidanceLayer', norm=True)).double().train(), unequal_images()
    images = {name: torch.randn(len(own), 3, 64, 64).double() for name, own in images.items()}
    apart = copy.deepcopy(whole)
    results = [whole.loss(images)]
    monkeypatch.setattr(fitnet_distiller, 'joint_groups', lambda inputs: [[name] for name in inputs])
    results.append(apart.loss(images))
    torch.testing.assert_close(results[1], results[0])
    for losses, distiller in zip(results, (whole, apart), strict=True):
        distiller.parse_losses(losses)[0].backward()
    for (name, own), other in zip(apart.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, msg=lambda text, name=name: f'{name}: {text}')
    torch.testing.assert_close(list(apart.buffers()), list(whole.buffers()))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(standardize='none'), r"standardize.*dict\(type='ChannelStandardize'\).*None.*'none'"),
        (dict(start_from='depth'), "unknown start_from 'depth'"),
        (dict(supervise='some'), "unknown supervise 'some'"),
        (dict(loss=dict(type='FitNetLoss', reduction='max')), "unknown reduction 'max'"),
        (dict(loss='FitNetLoss'), r"loss.*dict\(type='FitNetLoss'\).*'FitNetLoss'"),
        (dict(guidance=dict(norm=True)), r"guidance.*dict\(type='GuidanceLayer'\).*{'norm': True}"),
        (dict(balance='task'), "unknown balance 'task'"),
        (dict(source_weights=dict(plants=1.0)), r"source_weights name unknown \['plants'\]; known: \['birds', 'cars',"),
        (dict(source_weights=dict(cars='1')), r"source_weights\['cars'\].*number.*not negative, got '1'"),
        (dict(supervise='own', source_weights=dict(boxes=0.0)), r"source_weights are 0 .* 'det' teaches, \['boxes'\]"),
        (dict(levels=(0, 4)), r"levels \[4\].*'cls'.*\[0, 1, 2, 3\]"),
        (dict(levels=()), r'levels.*at least one.*\(\)'),
        (dict(levels=(1, 1)), r'levels.*once.*\(1, 1\)'),
        (dict(branch_weights=dict(depth=1.0)), r"branch_weights name unknown \['depth'\]"),
        (dict(levels=3), r'levels.*\(0, 1, 2, 3\), got 3'),
        (dict(levels=(0.0,)), r'levels.*integers.*\(0.0,\)'),
        (dict(branch_weights=dict(det=-1.0)), r"branch_weights\['det'\].*not negative, got -1.0"),
        (dict(level_weights={0: float('nan')}), r'level_weights\[0\].*number.*got nan'),
        (dict(level_weights={3: 1.0}, levels=(1, 2)), r'level_weights name unknown \[3\]; known: \[1, 2\]'),
    ],
)
def test_invalid_combinations_are_refused_at_build(build, change, message):
    with pytest.raises(ConfigError, match=message):
        build(**change)


def test_a_missing_teacher_is_named(learner_cfg, tmp_path):
    teacher = dict(model=learner_cfg, checkpoint=str(tmp_path / 'gone.pth'))
    with pytest.raises(CheckpointError, match='gone.pth .*exist'):
        MODELS.build(dict(type='FitNetDistiller', teacher=teacher, student=tiny_resnet()))


def test_loss_and_heads_read_guidance_after_its_norm(build):
    distiller = build(guidance=dict(type='GuidanceLayer', norm=True), standardize=None).eval()
    for layer in distiller.guidance.values():
        layer.norm.running_mean.normal_()
        layer.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 64, 64)
    G, target = distiller.guidance['det_2'], distiller.teacher.features(x)['det'][2]
    guided = G.norm(G.conv(distiller.student(x)[2]))
    loss = distiller(dict.fromkeys(distiller.sources, x), mode='loss')['loss_det_2']
    torch.testing.assert_close(loss, (target - guided).square().mean())
    torch.testing.assert_close(distiller.forward_task(x, 'det')[2], guided)


@pytest.mark.parametrize('standardize', [None, dict(type='ChannelStandardize')])
def test_mixed_precision_losses_are_close_and_fall(build, standardize):
    distiller = build(standardize=standardize)
    plain = float(distiller.parse_losses(losses_of(distiller.eval()))[0])
    with torch.autocast('cpu', torch.bfloat16):
        losses = losses_of(distiller)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert float(distiller.parse_losses(losses)[0]) == pytest.approx(plain, rel=0.05)
    wrapper = CpuAmpOptimWrapper(torch.optim.AdamW(distiller.train().parameters(), lr=1e-2))
    first = distiller.train_step(tiny_batch(), wrapper)['loss']
    for _ in range(10):
        last = distiller.train_step(tiny_batch(), wrapper)['loss']
    assert last < 0.8 * first
    assert all(value.isfinite().all() for value in distiller.state_dict().values())
