"""Differences are paired by seed; verdicts follow the rule that was written down."""

import math

import pytest

from xlearner_mm.experiments.study import STUDIES, Ledger, Run
from xlearner_mm.experiments.study_report import (
    FAILS,
    HOLDS,
    MEAN,
    OBSERVATIONS,
    OPEN,
    Difference,
    Results,
    comparison_table,
    fidelity_table,
    observations_table,
    paired_difference,
    verdict,
    verdict_of,
    write_report,
)
from xlearner_mm.report.rows import SUMMARY

LINKS = STUDIES['links']


def run(row, seed, value, study=LINKS):
    return Run(
        study.name, row, seed, study.digest(row), 'c', {'a': value, 'b': value + 2, 'a/fidelity': 90.0}, 1.0, 5, 2.0
    )


def test_the_interval_of_paired_differences_is_students():
    found = paired_difference([3.0, 5.0, 4.0], [1.0, 2.0, 3.0])
    assert found.mean == pytest.approx(2.0)
    assert found.margin == pytest.approx(4.302653 * 1 / math.sqrt(3), rel=1e-5)


def test_one_pair_has_no_interval():
    assert paired_difference([2.0], [1.0]).margin == math.inf


def test_differences_use_the_seeds_that_both_rows_have():
    runs = [run('ConvLink', 0, 10), run('ConvLink', 1, 20), run('PoolLink', 1, 21), run('PoolLink', 2, 99)]
    found = Results(LINKS, runs).difference('PoolLink', 'ConvLink', 'a')
    assert (found.seeds, found.mean) == (1, 1.0)
    assert Results(LINKS, runs[:2]).difference('PoolLink', 'ConvLink') is None


def test_figures_compare_with_the_first_baseline_that_has_runs():
    study = STUDIES['mini']
    rows = {row: run(row, 0, 10, study) for row in ('hard_sharing', 'hard_sharing_seg_flops', 'scratch')}
    assert Results(study, list(rows.values())).baseline == 'hard_sharing'
    assert Results(study, [rows['scratch'], rows['hard_sharing_seg_flops']]).baseline == 'hard_sharing_seg_flops'
    assert Results(study, [rows['scratch']]).baseline == 'hard_sharing'


def test_a_task_without_a_transfer_set_has_no_column():
    study = STUDIES['photo']
    scores = {'avg_cls': 40.0, 'seg_miou': 30.0, 'depth_delta1': 50.0}
    results = Results(study, [Run('photo', 'scratch', 0, study.digest('scratch'), 'c', scores)])
    assert comparison_table(results).header[2:6] == ['AVG Cls', 'mIoU', 'delta1', 'mean']
    assert comparison_table(results).lines[0][5] == '40.0'


def test_without_transfers_the_mean_is_over_sources_only():
    assert Results(LINKS, [run('ConvLink', 0, 10)]).values('ConvLink', MEAN) == {0: 11.0}


@pytest.mark.parametrize(
    ('difference', 'margin', 'expected'),
    [
        (Difference(5, 2.0, 1.0), 0.0, HOLDS),
        (Difference(5, 1.0, 2.0), 0.0, OPEN),
        (Difference(5, -2.0, 1.0), 0.0, FAILS),
        (Difference(5, -0.5, 0.4), 1.0, HOLDS),
        (Difference(5, -3.0, 1.0), 1.0, FAILS),
        (Difference(1, 9.0, math.inf), 0.0, OPEN),
        (None, 0.0, OPEN),
    ],
)
def test_a_claim_holds_if_its_interval_is_above_the_margin(difference, margin, expected):
    assert verdict(difference, margin) == expected


def test_an_observation_holds_if_all_claims_hold_and_fails_with_one():
    assert verdict_of([HOLDS, HOLDS]) == HOLDS
    assert verdict_of([HOLDS, OPEN]) == OPEN
    assert verdict_of([HOLDS, OPEN, FAILS]) == FAILS


def test_every_observation_of_the_slides_rests_on_claims():
    assert [own.name for own in OBSERVATIONS if ',' not in own.name] == ['O1', 'O2', 'O3', 'O4', 'O5', 'O6']
    for claim in (claim for own in OBSERVATIONS for claim in own.claims):
        assert {claim.row, claim.baseline} <= set(STUDIES[claim.study].seeds)


def test_a_verdict_before_all_seeds_have_run_is_one_so_far():
    study = STUDIES['mini']

    def o5_after(seeds):
        values = {'xlearner_p': (50, 52, 54), 'xlearner': (49, 50, 53)}
        runs = [
            Run('mini', row, seed, study.digest(row), 'c', dict.fromkeys(SUMMARY, own[seed]))
            for row, own in values.items()
            for seed in range(seeds)
        ]
        results = {name: Results(each, runs if name == 'mini' else []) for name, each in STUDIES.items()}
        return next(line[2:] for line in observations_table(results).lines if line[0] == 'O5')

    assert o5_after(1) == ['xlearner_p > xlearner: +1.0, 1 of 3 seeds', 'not decided so far']
    assert o5_after(2) == ['xlearner_p > xlearner: +1.5 [-4.9, +7.9], 2 of 3 seeds', 'not decided so far']
    assert o5_after(3) == ['xlearner_p > xlearner: +1.3 [-0.1, +2.8], 3 of 3 seeds', 'holds']


def test_a_claim_says_what_its_row_cost_beside_its_baseline():
    study = STUDIES['mini']
    costs = {'xlearner_seg': 18.0, 'xlearner': 10.0}
    runs = [
        Run('mini', row, 0, study.digest(row), 'c', dict.fromkeys(SUMMARY, 50.0), tflops=tflops)
        for row, tflops in costs.items()
    ]
    results = {name: Results(each, runs if name == 'mini' else []) for name, each in STUDIES.items()}
    claims = {line[0]: line[2] for line in observations_table(results).lines}
    assert claims['O2'] == 'xlearner_seg > xlearner: +0.0, 1 of 5 seeds, 1.8 times the FLOPs'


def test_fidelities_are_of_squeezed_rows_with_their_lowest_source_and_seed():
    study = STUDIES['mini']

    def squeezed(seed, digits, shapes):
        scores = dict.fromkeys(('digits', 'shapes'), 50.0) | {'digits/fidelity': digits, 'shapes/fidelity': shapes}
        return Run('mini', 'xlearner', seed, study.digest('xlearner'), 'c', {**scores, **dict.fromkeys(SUMMARY, 50.0)})

    scratch = Run('mini', 'scratch', 0, study.digest('scratch'), 'c', dict.fromkeys(SUMMARY, 20.0))
    results = {'mini': Results(study, [squeezed(0, 99.0, 90.0), squeezed(1, 89.0, 94.0), scratch])}
    results['squeeze'] = Results(STUDIES['squeeze'], [])
    assert fidelity_table(results).lines == [
        ['XL-Mini', 'X-Learner', '2', '93.0', '0 of 2', 'shapes 92.0', 'digits 89.0']
    ]


def test_the_page_has_means_differences_and_outdated_lines(tmp_path, capsys):
    ledger = Ledger(tmp_path / 'ledger.jsonl')
    for seed, (first, second) in enumerate([(10, 12), (20, 21)]):
        ledger.add(run('ConvLink', seed, first))
        ledger.add(run('PoolLink', seed, second))
    ledger.add(Run('links', 'PoolLink', 0, 'other', 'c', {'a': 1.0}))
    write_report(ledger.path, tmp_path / 'study.md')
    page = (tmp_path / 'study.md').read_text()
    assert page == capsys.readouterr().out[:-1]
    assert '| ConvLink | 2 | 15.0 ± 7.1 |' in page
    assert '| PoolLink | +1.5 [-4.9, +7.9] |' in page
    assert '1 lines of the ledger are of other configs' in page
    assert (tmp_path / 'study' / 'links.png').stat().st_size > 5000
