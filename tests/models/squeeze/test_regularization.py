"""Teachers left out at random, and mixed images: their formulas, their seeds, and nothing of them in validation."""

import numpy as np
import pytest
import torch

from xlearner_mm.engine.hooks.step_seed_hook import seed_step
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.squeeze.regularization import build_mix, keep_teachers, mixed
from xlearner_mm.testing import tiny_batch

MIXUP, CUTMIX = dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)


def inputs_of(distiller):
    return distiller.data_preprocessor(tiny_batch(), True)['inputs']


def total_of(losses):
    return sum(loss.detach() for loss in losses.values())


def test_the_worst_teacher_of_an_image_is_always_kept_and_the_others_as_often_as_they_should_be():
    losses = [torch.rand(20000), torch.rand(20000), torch.rand(20000)]
    kept = torch.stack(keep_teachers(losses, [None] * 3, 20000, drop=0.3))
    worst = torch.stack(losses).argmax(0)
    assert set(kept.unique().tolist()) == {0, 1}
    assert (kept.gather(0, worst[None]) == 1).all()
    others = torch.ones_like(kept).scatter_(0, worst[None], 0).bool()
    assert float(kept[others].mean()) == pytest.approx(0.7, abs=0.01)
    expected = torch.stack(losses).where(~others, 0.7 * torch.stack(losses)).sum(0).mean()
    assert float((kept * torch.stack(losses)).sum(0).mean()) == pytest.approx(float(expected), rel=0.01)


def test_a_teacher_is_compared_on_the_images_that_it_teaches():
    losses = [torch.tensor([1.0, 5.0]), torch.tensor([3.0, 3.0, 3.0, 3.0])]
    kept = keep_teachers(losses, [torch.tensor([1, 3]), None], 4, drop=1.0)
    assert [own.tolist() for own in kept] == [[0, 1], [1, 1, 1, 0]]


def test_dropping_zeroes_the_terms_of_the_images_whose_coin_fell(build):
    distiller = build(drop_teachers=0.5, balance='image', guidance=dict(type='GuidanceLayer'), standardize=None)
    distiller.train()
    for layer in distiller.student.modules():
        layer.eval()
    images = inputs_of(distiller)
    names, levels = list(distiller.targets), range(4)
    per_image = {name: [] for name in names}
    for source, batch in images.items():
        for image in batch:
            own = distiller.eval().loss({source: image[None]})
            for name in names:
                per_image[name].append([own[f'loss_{name}_{level}'].detach() for level in levels])
    distances = torch.tensor([per_image[name] for name in names])  # (T, B, levels)
    distiller.training = True
    torch.manual_seed(3)
    losses = distiller.loss(images)
    torch.manual_seed(3)
    kept = (torch.rand(distances.shape[:2]) >= 0.5) | (distances.sum(2) == distances.sum(2).max(0).values)
    for row, name in enumerate(names):
        for level in levels:
            wanted = (distances[row, :, level] * kept[row]).mean()
            torch.testing.assert_close(losses[f'loss_{name}_{level}'].detach(), wanted, rtol=1e-4, atol=1e-5)
    assert 0 < kept.float().mean() < 1


def test_mixup_is_its_formula_within_every_source():
    inputs = {'a': torch.randn(4, 3, 8, 8), 'b': torch.randn(3, 3, 6, 4)}
    seed_step(0, 0, 5)
    found = mixed(build_mix('squeeze', MIXUP), inputs)
    seed_step(0, 0, 5)
    for name, images in inputs.items():
        np.random.choice(1)
        share, other = np.random.beta(0.8, 0.8), torch.randperm(len(images))
        torch.testing.assert_close(found[name], share * images + (1 - share) * images[other])


def test_cutmix_pastes_one_box_of_another_image_of_the_source():
    images = torch.arange(5.0)[:, None, None, None].expand(5, 3, 16, 16).contiguous()
    seed_step(0, 0, 1)
    found = mixed(build_mix('squeeze', CUTMIX), {'a': images})['a']
    assert torch.equal(images[:, 0, 0, 0], torch.arange(5.0)), 'the images themselves are unchanged'
    foreign = found != images
    boxes = {tuple(map(tuple, own[0].nonzero()[[0, -1]].tolist())) for own in foreign if own.any()}
    assert len(boxes) == 1
    (top, left), (bottom, right) = boxes.pop()
    for own, changed in zip(found, foreign, strict=True):
        if changed.any():
            assert changed[:, top : bottom + 1, left : right + 1].all()
            assert changed.sum() == 3 * (bottom + 1 - top) * (right + 1 - left)
            assert len(own[changed].unique()) == 1


def test_one_of_several_is_chosen():
    mix = build_mix('squeeze', dict(augments=[MIXUP, CUTMIX], probs=[0.0, 0.0]))
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(mixed(mix, {'a': images})['a'], images)


def test_student_and_teachers_see_the_same_mixed_images(build, monkeypatch):
    distiller = build(mix=MIXUP).train()
    images, seen = inputs_of(distiller), []
    teach = distiller.teach
    monkeypatch.setattr(distiller, 'teach', lambda x, owners: seen.append(x) or teach(x, owners))
    distiller.student.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    distiller.loss(images)
    given, taken = seen[0], seen[1]
    assert torch.equal(getattr(taken, 'parts', [taken])[0], given)
    assert not torch.equal(given, torch.cat(list(images.values())))


@pytest.mark.parametrize('settings', [dict(mix=MIXUP), dict(mix=CUTMIX), dict(drop_teachers=0.5)], ids=str)
def test_a_step_is_a_function_of_its_seed_and_evaluation_has_none_of_it(build, settings):
    distiller, plain = build(**settings, standardize=None), build(standardize=None)
    plain.load_state_dict(distiller.state_dict())
    images = inputs_of(distiller)

    def step(iteration):
        seed_step(0, 0, iteration)
        return float(total_of(distiller.loss(images)))

    assert step(1) == step(1)
    assert len({step(iteration) for iteration in range(1, 6)}) > 1
    plain.load_state_dict(distiller.state_dict())
    assert float(total_of(distiller.eval().loss(images))) == float(total_of(plain.eval().loss(images)))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(drop_teachers=1.0), r'drop_teachers.*\[0, 1\).*1.0'),
        (dict(drop_teachers='half'), r"drop_teachers.*probability.*'half'"),
        (dict(drop_teachers=0.5, supervise='own'), r"drop_teachers is 0.5.*one teacher alone.*supervise='all'"),
        (dict(mix=dict(type='Mixup', alpha=1)), r"mix.*dict\(type='Mixup', alpha=0.8\).*'alpha': 1"),
        (dict(mix=dict(type='Blend')), r"mix.*Mixup.*'Blend'"),
        (dict(mix='Mixup'), r"mix.*Mixup.*got 'Mixup'"),
        (dict(mix=dict(augments=[MIXUP, CUTMIX], probs=(0.5, 0.5))), r'mix.*Mixup.*probs'),
    ],
)
def test_settings_that_cannot_be_are_refused(build, settings, message):
    with pytest.raises(ConfigError, match=message):
        build(**settings)
