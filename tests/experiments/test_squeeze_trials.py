"""Each trial changes one setting of a squeeze that does not depend on the configs' defaults."""

import pytest
from mmengine.config import Config

from xlearner_mm.analysis.dry_run import estimate_config
from xlearner_mm.experiments.squeeze_trials import TRIALS, options_of

SQUEEZE = 'configs/mini/xlearner_seg_r18_squeeze.py'
SCHEDULE = {'train_cfg', 'param_scheduler'}
READ = SCHEDULE | {'optim_wrapper', 'sources'}


def settings(trial, **defaults):
    cfg = Config.fromfile(SQUEEZE)
    cfg.merge_from_dict(defaults)
    cfg.merge_from_dict(dict(TRIALS.trainings[trial].options))
    model = cfg.model.to_dict()
    return {**{f'model.{key}': value for key, value in model.items()}, **{key: cfg[key] for key in READ}}


@pytest.fixture(autouse=True)
def inside_the_repository(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


SEVERAL = {
    *('default', 'from_hard_sharing', 'together', 'together_longest', 'plain_longest'),
    *('cls_labels_longest', 'cls_labels_weighted', 'half_batches', 'quarter_batches'),
}


@pytest.mark.parametrize('trial', [name for name in TRIALS.variants if name not in SEVERAL])
def test_a_trial_changes_one_setting(trial):
    default, own = settings('default'), settings(trial)
    changed = {key for key in own if own[key] != default[key]}
    assert len(changed) == 1 or changed == SCHEDULE


def test_the_second_round_combines_trials_of_the_first():
    default = settings('default')
    for trial, parts in (
        ('together', ('heads_labels', 'plain_targets')),
        ('together_longest', ('heads_labels', 'plain_targets')),
        ('plain_longest', ('plain_targets', 'longest')),
    ):
        own = settings(trial)
        singly = [settings(part) for part in parts]
        for key in own.keys() - SCHEDULE:
            assert own[key] == next((one[key] for one in singly if one[key] != default[key]), default[key])
    assert [settings(trial)['train_cfg'].max_iters for trial in ('together', 'plain_longest')] == [450, 675]


def test_the_last_round_adds_labels_of_classification_and_then_weights_of_the_other_branches():
    plain, labels, weighted = (
        settings(trial) for trial in ('plain_longest', 'cls_labels_longest', 'cls_labels_weighted')
    )
    assert {key for key in labels if labels[key] != plain[key]} == {'model.heads'}
    assert labels['model.heads'] == {'loss': 'labels', 'weight': 1.0, 'tasks': ['cls']}
    assert {key for key in weighted if weighted[key] != labels[key]} == {'model.branch_weights'}
    assert weighted['model.branch_weights'] == {'det': 2.0, 'seg': 2.0}


@pytest.mark.parametrize(('trial', 'divisor'), [('half_batches', 2), ('quarter_batches', 4)])
def test_smaller_batches_take_the_images_of_the_longest_squeeze_in_more_steps(trial, divisor):
    longest, own = settings('longest'), settings(trial)
    assert {key for key in own if own[key] != longest[key]} == READ
    assert own['train_cfg'].max_iters == divisor * longest['train_cfg'].max_iters
    for name, source in longest['sources'].items():
        assert own['sources'][name].batch_size * divisor == source.batch_size
        assert own['sources'][name] == {**source, 'batch_size': own['sources'][name].batch_size}
    rate = longest['optim_wrapper'].optimizer.lr / divisor**0.5
    assert own['optim_wrapper'].optimizer.lr == pytest.approx(rate, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    'trial', ['longest', 'plain_longest', 'together_longest', 'cls_labels_longest', 'quarter_batches']
)
def test_the_longest_squeezes_cost_half_as_much_again_as_the_expansion(trial):
    expansion = estimate_config(Config.fromfile('configs/mini/xlearner_seg_r18_expansion.py'))
    cfg = Config.fromfile(SQUEEZE)
    cfg.merge_from_dict(dict(TRIALS.trainings[trial].options))
    squeeze = estimate_config(cfg)
    ratio = squeeze.steps * squeeze.flops_per_step / (expansion.steps * expansion.flops_per_step)
    assert round(ratio, 2) == 1.5


def test_the_hard_shared_backbone_is_a_checkpoint_of_the_student():
    default, own = settings('default'), settings('from_hard_sharing')
    assert {key for key in own if own[key] != default[key]} == {'model.start_from'}
    assert TRIALS.trainings_of('from_hard_sharing')[-2:] == ['hard_sharing_seg_r18', 'from_hard_sharing']
    reads = TRIALS.trainings['from_hard_sharing'].reads
    assert reads['model.student.init_cfg.type'] == 'Pretrained'
    assert reads['model.student.init_cfg.checkpoint'] == '{hard_sharing_seg_r18}/backbone.pth'


@pytest.mark.parametrize(
    'changes',
    [
        {'model.heads': {'loss': 'labels', 'weight': 2.0, 'tasks': ['cls']}},
        {'model.branch_weights': {'seg': 2.0}},
        {'model.standardize': None},
        {'model.loss': {'_delete_': True, 'type': 'SmoothL1CosineLoss', 'beta': 2.0}},
        {'model.start_from': 'average'},
        {'train_cfg.max_iters': 900, 'param_scheduler.1.end': 900},
        {'optim_wrapper.optimizer.lr': 1e-3},
    ],
)
def test_a_new_default_of_the_configs_leaves_trials_as_they_are(changes):
    for trial in ('default', 'smooth_l1_cosine', 'heads_outputs', 'plain_targets'):
        assert settings(trial, **changes) == settings(trial)


def test_a_changed_part_takes_no_setting_of_the_common_one():
    assert 'model.loss.reduction' not in options_of({'model.loss.type': 'SmoothL1CosineLoss'})
