"""Budgets of hard-sharing equal X-Learner's: optimizer steps in one row, FLOPs in another."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from xlearner_mm.analysis.dry_run import estimate_config
from xlearner_mm.experiments.variant_jobs import budget_of
from xlearner_mm.experiments.variants import FAMILIES, MINI, PHOTO

ROOT = Path(__file__).parents[2]
PAIRS = [
    (MINI, 'hard_sharing', 'xlearner'),
    (MINI, 'hard_sharing_seg', 'xlearner_seg'),
    (PHOTO, 'hard_sharing_seg', 'xlearner_seg'),
]
IDS = [f'{family.name}-{name}' for family, name, _ in PAIRS]
HARD_SHARING = [(family, name) for family in FAMILIES.values() for name in family.trainings if 'hard_sharing' in name]


def config_of(family, training):
    return Config.fromfile(ROOT / family.configs / family.trainings[training].config)


def configs_of(family, variant):
    return [config_of(family, name) for name in family.trainings_of(variant)]


@pytest.mark.parametrize(('family', 'hard_sharing', 'xlearner'), PAIRS, ids=IDS)
def test_hard_sharing_has_as_many_steps_as_both_stages(family, hard_sharing, xlearner):
    (alone,) = configs_of(family, hard_sharing)
    assert alone.train_cfg.max_iters == sum(cfg.train_cfg.max_iters for cfg in configs_of(family, xlearner))


@pytest.mark.slow
@pytest.mark.parametrize(('family', 'hard_sharing', 'xlearner'), PAIRS, ids=IDS)
def test_hard_sharing_has_as_many_flops_as_both_stages(monkeypatch, tmp_path, family, hard_sharing, xlearner):
    """To the nearest step, by the count of the dry run, which needs no data."""
    monkeypatch.chdir(tmp_path)
    alone, *stages = (
        estimate_config(cfg) for cfg in [*configs_of(family, f'{hard_sharing}_flops'), *configs_of(family, xlearner)]
    )
    assert alone.steps == round(sum(stage.steps * stage.flops_per_step for stage in stages) / alone.flops_per_step)


@pytest.mark.slow
@pytest.mark.parametrize(('family', 'xlearner'), [(family, name) for family, _, name in PAIRS], ids=IDS)
def test_a_squeeze_has_half_as_many_flops_again_as_the_expansion(monkeypatch, tmp_path, family, xlearner):
    monkeypatch.chdir(tmp_path)
    expansion, squeeze = (estimate_config(cfg) for cfg in configs_of(family, xlearner))
    ratio = squeeze.steps * squeeze.flops_per_step / (expansion.steps * expansion.flops_per_step)
    assert round(ratio, 2) == 1.5


@pytest.mark.parametrize(('family', 'training'), HARD_SHARING, ids=[f'{own.name}-{name}' for own, name in HARD_SHARING])
def test_the_learning_rate_falls_until_the_last_step(family, training):
    cfg = config_of(family, training)
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == cfg.train_cfg.val_interval


def test_the_budget_of_a_variant_is_that_of_all_its_trainings(tmp_path):
    for number, name in enumerate(MINI.trainings_of('xlearner_pp'), 1):
        path = tmp_path / 'budget' / f'{name}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(dict(steps=100, flops_per_step=number * 1e10)))
    budget = budget_of('xlearner_pp', tmp_path)
    assert budget.steps == 700
    assert budget.tflops == pytest.approx(100 * (1 + 2 + 3 + 4 + 5 + 6 + 7) * 1e10 / 1e12)


def test_a_random_start_takes_no_training(tmp_path):
    assert budget_of('scratch', tmp_path).steps == budget_of('scratch', tmp_path).tflops == 0
