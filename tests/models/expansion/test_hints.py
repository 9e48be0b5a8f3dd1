import copy

import pytest
import torch
from mmengine.optim import OptimWrapper

from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_resnet, tiny_sources

NORMALIZATION = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def single(source='boxes'):
    """The config of a learner of one source alone."""
    sources = {source: tiny_sources()[source]}
    return dict(type='ExpansionLearner', backbone=tiny_expanded(sources[source]['task']), sources=sources)


def save(model, path, **meta):
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return str(path)


@pytest.fixture
def hint(tmp_path):
    """A trained single-source learner as the hint of its source."""
    torch.manual_seed(7)
    model = MODELS.build(single())
    model.init_weights()
    return dict(model=single(), checkpoint=save(model, tmp_path / 'single.pth'))


@pytest.fixture
def backbone_hint(tmp_path):
    torch.manual_seed(7)
    backbone = MODELS.build(tiny_resnet())
    return dict(model=tiny_resnet(), checkpoint=save(backbone, tmp_path / 'backbone.pth'))


def build(sources=None, **kwargs):
    torch.manual_seed(0)
    cfg = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=sources or tiny_sources())
    learner = MODELS.build({**cfg, **kwargs})
    learner.init_weights()
    return learner


def losses_of(learner, batch=None):
    return learner(**learner.data_preprocessor(batch or tiny_batch(), True), mode='loss')


def hints_of(losses):
    return {name: value for name, value in losses.items() if 'hint' in name}


def test_the_losses_are_fitnets_on_the_sources_own_images(hint):
    learner = build(hints=dict(boxes={**hint, 'standardize': None, 'weight': 0.5})).eval()
    batch = tiny_batch()
    x = learner.data_preprocessor(copy.deepcopy(batch), True)['inputs']['boxes']
    T = MODELS.build(hint['model']).eval()
    T.load_state_dict(torch.load(hint['checkpoint'], weights_only=True)['state_dict'])
    targets, features = T.backbone.forward_task(x, 'det'), learner.backbone.forward_task(x, 'det')
    found = hints_of(losses_of(learner, batch))
    assert set(found) == {f'boxes.hint_loss_{i}' for i in range(4)}
    for i in range(4):
        G = learner.hints['boxes'].guidance[str(i)].conv
        wanted = 0.5 * ((targets[i] - G(features[i])) ** 2).mean()
        torch.testing.assert_close(found[f'boxes.hint_loss_{i}'], wanted, rtol=1e-4, atol=1e-5)


def test_hints_are_in_the_total_loss(hint):
    learner = build(hints=dict(boxes=hint)).eval()
    losses = losses_of(learner)
    total, _ = learner.parse_losses(losses)
    without, _ = learner.parse_losses({k: v for k, v in losses.items() if k not in hints_of(losses)})
    torch.testing.assert_close(total - without, sum(hints_of(losses).values()), rtol=1e-4, atol=1e-4)


def test_hints_teach_the_branch_of_their_task_only(hint):
    learner = build(hints=dict(boxes=hint))
    sum(hints_of(losses_of(learner)).values()).backward()
    taught = {
        name.split('.')[2]
        for name, p in learner.backbone.branches.named_parameters(prefix='backbone.branches')
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert taught == {'det'}
    assert all(p.grad is not None for p in learner.hints.parameters())


def test_levels_select_the_distilled_features(hint):
    learner = build(hints=dict(boxes={**hint, 'levels': (1, 3)}))
    assert set(hints_of(losses_of(learner))) == {'boxes.hint_loss_1', 'boxes.hint_loss_3'}


def test_separate_batches_get_hints_too(hint):
    joint = build(hints=dict(boxes=hint)).eval()
    separate = build(hints=dict(boxes=hint), joint_batches=False).eval()
    found = hints_of(losses_of(separate))
    for name, value in hints_of(losses_of(joint)).items():
        torch.testing.assert_close(found[name], value)


def test_a_hint_without_weight_and_a_source_without_weight_teach_nothing(hint):
    assert all(v == 0 for v in hints_of(losses_of(build(hints=dict(boxes={**hint, 'weight': 0.0})))).values())
    sources = tiny_sources()
    sources['boxes']['loss_weight'] = 0.0
    assert all(v == 0 for v in hints_of(losses_of(build(sources, hints=dict(boxes=hint)))).values())


def test_with_standardized_targets_the_scale_of_a_teacher_does_not_matter(hint):
    learner = build(hints=dict(boxes=hint)).train()
    small = losses_of(learner)['boxes.hint_loss_3']
    loud = build(hints=dict(boxes=hint)).train()
    features = loud.hints['boxes'].teacher.features
    loud.hints['boxes'].teacher.features = lambda x: {i: 100 * f for i, f in features(x).items()}
    torch.testing.assert_close(losses_of(loud)['boxes.hint_loss_3'], small, rtol=1e-2, atol=1e-2)


def test_the_teacher_is_unchanged_by_training_and_not_saved(hint):
    learner = build(hints=dict(boxes=hint))
    teacher = learner.hints['boxes'].teacher.module
    before = copy.deepcopy(teacher.state_dict())
    optimizer = OptimWrapper(torch.optim.AdamW(learner.parameters(), lr=1e-2))
    learner.train()
    learner.train_step(tiny_batch(), optimizer)
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert not any(module.training for module in teacher.backbone.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert {key.split('.')[2] for key in learner.state_dict() if key.startswith('hints.')} == {
        'guidance',
        'standardizers',
    }
    assert not {id(p) for p in teacher.parameters()} & {id(p) for p in learner.parameters()}


def test_a_resumed_training_keeps_the_teachers_that_it_began_with(hint, tmp_path):
    began = build(hints=dict(boxes=hint)).describe()
    other = tmp_path / 'other.pth'
    content = torch.load(hint['checkpoint'], weights_only=True)
    torch.save({**content, 'meta': {**content.get('meta', {}), 'iter': 1}}, other)
    resumed = build(hints=dict(boxes={**hint, 'checkpoint': str(other)}))
    resumed.check_resumed(began)
    assert resumed.describe()['hints'] == began['hints']
    began['hints']['boxes'] = dict(checkpoint='gone.pth', sha256='0' * 64)
    with pytest.raises(CheckpointError, match=r'boxes.* began with: gone.pth, .* is missing now'):
        resumed.check_resumed(began)


def test_the_teacher_moves_and_converts_with_the_learner(hint):
    learner = build(hints=dict(boxes=hint)).double()
    assert {p.dtype for p in learner.hints['boxes'].teacher.module.parameters()} == {torch.float64}


def test_hints_are_given_in_mixed_precision_too(hint):
    learner = build(hints=dict(boxes=hint)).eval()
    plain = hints_of(losses_of(learner))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = hints_of(losses_of(learner))
    for name, value in plain.items():
        torch.testing.assert_close(mixed[name].float(), value, rtol=0.05, atol=0.01)


def test_a_backbone_may_teach_when_its_normalization_is_known(backbone_hint):
    preprocessor = dict(_scope_='mmdet', type='DetDataPreprocessor', bgr_to_rgb=True, **NORMALIZATION)
    learner = build(hints=dict(boxes=dict(**backbone_hint, data_preprocessor=preprocessor)))
    assert len(hints_of(losses_of(learner))) == 4


def test_an_exported_backbone_records_its_normalization(tmp_path, backbone_hint):
    stated = [NORMALIZATION['mean'], NORMALIZATION['std'], 'rgb']
    path = save(MODELS.build(tiny_resnet()), tmp_path / 'export.pth', normalization=stated)
    build(hints=dict(boxes={**backbone_hint, 'checkpoint': path}))


def test_out_indices_of_the_backbone_count(tmp_path):
    stated = [NORMALIZATION['mean'], NORMALIZATION['std'], 'rgb']
    path = save(MODELS.build(tiny_resnet()), tmp_path / 'export.pth', normalization=stated)
    hint = dict(model=tiny_resnet(out_indices=(2, 3)), checkpoint=path)
    learner = build(hints=dict(boxes={**hint, 'levels': (3,)}))
    assert learner.hints['boxes'].teacher.channels == {2: 16, 3: 32}
    with pytest.raises(ConfigError, match=r"source 'boxes': its hint: levels \[0, 1\].*'hint teacher'.*\[2, 3\]"):
        build(hints=dict(boxes=hint))


def test_a_teacher_trained_with_hints_needs_no_hints(hint, tmp_path):
    cfg = dict(single(), hints=dict(boxes=hint))
    path = save(MODELS.build(cfg), tmp_path / 'with_hints.pth')
    gone = dict(cfg, hints=dict(boxes={**hint, 'checkpoint': 'gone.pth'}))
    learner = build(hints=dict(boxes=dict(model=gone, checkpoint=path)))
    assert len(hints_of(losses_of(learner))) == 4


def test_an_expansion_with_hints_is_squeezed_without_them(hint, tmp_path):
    learner = build(hints=dict(boxes=hint))
    path = save(learner, tmp_path / 'expansion.pth')
    gone = dict(boxes={**hint, 'checkpoint': 'gone.pth'})
    cfg = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources(), hints=gone)
    MODELS.build(dict(type='FitNetDistiller', teacher=dict(model=cfg, checkpoint=path), student=tiny_resnet()))


def test_the_checkpoint_records_its_teachers(hint):
    described = build(hints=dict(boxes=hint)).describe()['hints']
    assert described['boxes']['checkpoint'] == hint['checkpoint']
    assert len(described['boxes']['sha256']) == 64


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(wieght=2.0), "source 'boxes': its hint: unknown setting 'wieght'; did you mean 'weight'"),
        (dict(weight=-1.0), "source 'boxes': its hint: weight.*not negative, got -1.0"),
        (dict(standardize='batch'), r"source 'boxes': its hint: standardize.*ChannelStandardize.*'batch'"),
        (dict(data_preprocessor=dict(type='DetDataPreprocessor')), r"source 'boxes'.*has its own data_preprocessor"),
        (dict(levels=(0, 4)), r"source 'boxes': its hint: levels \[4\].*'branch'.*\[0, 1, 2, 3\]"),
    ],
)
def test_invalid_combinations_are_refused_at_build(hint, change, message):
    with pytest.raises(ConfigError, match=message):
        build(hints=dict(boxes={**hint, **change}))


def test_an_unknown_source_is_refused(hint):
    with pytest.raises(ConfigError, match=r"hints.*unknown source\(s\) \['coco'\]; .*sources"):
        build(hints=dict(coco=hint))


def test_a_hint_without_checkpoint_is_refused(hint):
    del hint['checkpoint']
    with pytest.raises(ConfigError, match=r"source 'boxes': its hint lacks \['checkpoint'\]"):
        build(hints=dict(boxes=hint))


def test_a_teacher_of_another_task_is_refused(hint):
    with pytest.raises(ConfigError, match=r"source 'masks': .*hint teacher.*\['det'\].*task 'seg'"):
        build(hints=dict(masks=hint))


def test_a_teacher_of_another_normalization_is_refused(backbone_hint):
    other = dict(_scope_='mmdet', type='DetDataPreprocessor', bgr_to_rgb=True, mean=[0.0] * 3, std=[255.0] * 3)
    with pytest.raises(ConfigError, match=r"hint teacher.* 'boxes' .*normalization .*mean \[0.0"):
        build(hints=dict(boxes=dict(**backbone_hint, data_preprocessor=other)))


def test_a_teacher_of_unknown_normalization_is_refused(backbone_hint):
    with pytest.raises(ConfigError, match="source 'boxes': .*how its images"):
        build(hints=dict(boxes=backbone_hint))


def test_a_missing_checkpoint_is_named(hint, tmp_path):
    with pytest.raises(CheckpointError, match='gone.pth .*exist'):
        build(hints=dict(boxes={**hint, 'checkpoint': str(tmp_path / 'gone.pth')}))


def test_a_checkpoint_of_another_model_is_refused(hint, tmp_path):
    path = save(MODELS.build(single('masks')), tmp_path / 'masks.pth')
    with pytest.raises(CheckpointError, match="hint teacher.* 'boxes' .*masks.pth .*fit"):
        build(hints=dict(boxes={**hint, 'checkpoint': path}))
