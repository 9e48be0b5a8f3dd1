"""The slides' variants as jobs: everything before what reads it, everything once."""

from pathlib import Path

import pytest

from xlearner_mm.config.options import load_config
from xlearner_mm.experiments.variant_jobs import seconds_of, stage_dir, variant_jobs
from xlearner_mm.experiments.variants import MINI, PHOTO
from xlearner_mm.pipeline.runner import in_order
from xlearner_mm.transfer.protocol import transfer_sets

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def inside_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def sets():
    return transfer_sets(Path('configs/mini/transfer'))


def jobs_of(sets, *names):
    return in_order(variant_jobs(names, Path('work'), sets))


@pytest.mark.parametrize('name', MINI.variants)
def test_a_variant_runs_from_its_sources_to_every_transfer_set(sets, name):
    jobs = jobs_of(sets, name)
    assert {f'{name}/{entry.config.stem}/seed_0' for entry in sets} <= set(jobs)
    if name != 'scratch':
        assert f'{name}/export' in jobs[f'{name}/cls_letters/seed_0'].needs
        assert jobs[f'{name}/export'].needs == (f'stages/{MINI.variants[name].result}',)


def test_a_squeeze_reads_what_its_own_expansion_saved(sets):
    command = jobs_of(sets, 'xlearner_t')['stages/xlearner_t_r18_squeeze'].command
    assert 'model.teacher.checkpoint=work/stages/xlearner_t_r18_expansion' in command


def test_hints_come_from_the_exports_of_single_source_trainings(sets):
    jobs = jobs_of(sets, 'xlearner_pp')
    expansion = jobs['stages/xlearner_pp_r18_expansion']
    assert 'model.hints.det_digits.checkpoint=work/stages/det_digits_r18/backbone.pth' in expansion.command
    assert 'stages/det_digits_r18/export' in expansion.needs


def test_half_width_branches_start_from_the_squeezes_of_single_task_models(sets):
    """The slides' Squeeze-Expansion: the squeeze comes first."""
    jobs = jobs_of(sets, 'xlearner_r')
    for task in ('cls', 'det'):
        squeeze = jobs[f'stages/xlearner_r_{task}_r18_squeeze']
        assert f'model.teacher.checkpoint=work/stages/{task}_r18' in squeeze.command
        assert f'stages/{task}_r18' in squeeze.needs
        start = f'model.backbone.branches.{task}.init_cfg.checkpoint=work/stages/xlearner_r_{task}_r18_squeeze'
        assert start in jobs['stages/xlearner_r_r18_expansion'].command
        assert f'stages/xlearner_r_{task}_r18_squeeze' in jobs['stages/xlearner_r_r18_expansion'].needs


def test_every_budget_is_counted_with_the_settings_of_its_run(sets):
    jobs = in_order(variant_jobs(['xlearner_p'], Path('work'), sets, steps=2))
    for training in MINI.trainings_of('xlearner_p'):
        command = jobs[f'budget/{training}'].command
        assert command[3:6] == ('--dry-run', '--json', f'work/budget/{training}.json')
        assert 'train_cfg.max_iters=2' in command


def test_variants_share_the_trainings_that_they_have_in_common(sets):
    both = jobs_of(sets, 'xlearner', 'xlearner_p')
    assert sum(name.startswith('stages/xlearner_r18_expansion') for name in both) == 1
    assert both['stages/xlearner_p_r18_prune'].needs[-1] == 'stages/xlearner_r18_expansion'


def test_pruning_too_is_tried_out_in_a_few_steps(sets):
    """Its steps and their interval are of the whole training's length."""
    jobs = in_order(variant_jobs(['xlearner_p'], Path('work'), sets, steps=2))
    options = jobs['stages/xlearner_p_r18_prune'].command
    config = 'configs/mini/xlearner_p_r18_prune.py'
    cfg = load_config(config, None, options[options.index('--cfg-options') + 1 :], launcher='none')
    hook = cfg.custom_hooks[-1]
    assert hook.type == 'PruningHook'
    assert hook.steps * hook.interval < cfg.train_cfg.max_iters == 2


def test_the_time_of_a_variant_includes_shared_trainings():
    seconds = {
        'stages/xlearner_r18_expansion': 10.0,
        'stages/xlearner_r18_squeeze': 5.0,
        'stages/hard_sharing_r18': 7.0,
        'stages/xlearner_r18_expansion_half': 100.0,
        'xlearner/cls_letters': 2.0,
        'xlearner_p/cls_letters': 3.0,
    }
    assert seconds_of('xlearner', seconds) == 17.0


def test_a_seed_is_that_of_every_training_and_transfer(sets):
    jobs = in_order(variant_jobs(['xlearner'], Path('work'), sets, seed=3))
    for training in MINI.trainings_of('xlearner'):
        assert 'randomness.seed=3' in jobs[f'stages/{training}'].command
    transfer = jobs['xlearner/cls_letters/seed_3'].command
    assert transfer[transfer.index('--seed') + 1] == '3'


def test_photographs_are_checked_before_they_are_trained_on():
    jobs = in_order(
        variant_jobs(['xlearner_seg'], Path('work'), transfer_sets(PHOTO.configs / 'transfer'), family=PHOTO)
    )
    assert jobs['data/source'].command[1:3] == ('tools/make_photos.py', '--check')
    assert 'data/source' in jobs['stages/xlearner_seg_r18_expansion'].needs
    assert 'xlearner_seg/cls_cifar10/seed_0' in jobs


def test_stages_are_stored_beside_the_variants():
    assert stage_dir(Path('work'), 'xlearner_r18_squeeze') == Path('work/stages/xlearner_r18_squeeze')
