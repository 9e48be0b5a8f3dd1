"""Rows of a report: summaries, and which rows compare."""

from dataclasses import replace

import pytest

from xlearner_mm.report.paper import paper_rows
from xlearner_mm.report.rows import (
    RowProtocol,
    Score,
    SourceScore,
    all_sets,
    best_rows,
    comparable,
    make_row,
    make_score,
    protocols_differ,
    shared_label,
    titles_of,
)


def cls(*values, extra=False):
    return make_score('cls', 'accuracy/top1', values, extra)


def test_a_score_of_one_seed_has_no_deviation():
    assert make_score('det', 'pascal_voc/AP50', 12.5) == Score('det', 'pascal_voc/AP50', 12.5)


def test_a_score_over_seeds_has_mean_and_sample_standard_deviation():
    score = cls(1.0, 2.0, 6.0)
    assert score.value == 3.0
    assert score.values == [1.0, 2.0, 6.0]
    assert score.std == pytest.approx(2.65, abs=0.005)  # square root of ((4 + 1 + 9) / (3 - 1))


def test_a_set_without_values_is_kept_as_failed():
    assert cls().value is None


def test_the_summaries_are_means_over_a_tasks_sets():
    row = make_row('x', {'a': cls(10), 'b': cls(20), 'voc': make_score('det', 'pascal_voc/AP50', 50)})
    assert row.summary == {'avg_cls': 15, 'det_ap50': 50, 'seg_miou': None, 'depth_delta1': None}


def test_a_failed_set_omits_only_the_summary_of_its_task():
    row = make_row('x', {'a': cls(10), 'b': cls(), 'voc': make_score('det', 'pascal_voc/AP50', 50)})
    assert (row.summary['avg_cls'], row.summary['det_ap50']) == (None, 50)


def test_extra_sets_do_not_affect_the_summary():
    voc = make_score('det', 'pascal_voc/AP50', 80)
    for values in ([40.0], []):
        coco = make_score('det', 'coco/bbox_mAP', values, extra=True)
        assert make_row('x', {'voc': voc, 'coco': coco}).summary['det_ap50'] == 80


def test_the_deviation_of_a_summary_is_that_of_the_seeds_means():
    # Seed 0 gives 10 and 20, seed 1 gives 14 and 16: both seeds' means are 15.
    row = make_row('x', {'a': cls(10, 14), 'b': cls(20, 16)})
    assert row.summary['avg_cls'] == 15
    assert row.std['avg_cls'] == 0


def test_sets_of_different_numbers_of_seeds_give_a_mean_without_deviation():
    row = make_row('x', {'a': cls(10, 14), 'b': cls(20)})
    assert row.summary['avg_cls'] == 16
    assert row.std == {}


def test_the_fidelity_is_the_mean_over_the_sources_that_have_one():
    upstream = {
        'a': SourceScore('m', 1.0, 90.0),
        'b': SourceScore('m', 1.0, 70.0),
        'c': SourceScore('m', 1.0),
    }
    assert make_row('x', {}, upstream=upstream).fidelity == 80
    assert make_row('x', {}).fidelity is None


def test_rows_are_identified_by_method_and_protocol_not_seeds():
    def known(name, **protocol):
        return make_row(name, {}, protocol=RowProtocol(**protocol)).identity

    assert known('x', frozen=True, seeds=1) == known('x', frozen=True, seeds=3)
    assert len({known('x', frozen=True), known('x', frozen=False), known('y', frozen=True), known('x')}) == 4


FULL, TENTH = RowProtocol(frozen=True, data_fraction=1.0), RowProtocol(frozen=True, data_fraction=0.1)


def row(name, protocol=None, **cls):
    return make_row(name, {key: make_score('cls', 'accuracy/top1', v) for key, v in cls.items()}, protocol=protocol)


def test_means_over_fewer_sets_than_other_rows_are_not_shown():
    rows = comparable([row('few', a=90.0), row('all', a=50.0, b=60.0)])
    assert [shown.summary['avg_cls'] for shown in rows] == [None, 55.0]
    assert rows[0].transfer['a'].value == 90.0


def test_an_extra_set_of_one_row_does_not_affect_others():
    more = row('more', a=50.0)
    more.transfer['coco'] = make_score('det', 'coco/bbox_mAP', 40.0, extra=True)
    assert comparable([row('one', a=60.0), more])[0].summary['avg_cls'] == 60.0


def test_the_papers_rows_come_first_and_keep_their_means():
    rows = comparable([row('ours', a=50.0), *paper_rows(['X-Learner'])])
    assert [(shown.method, shown.summary['avg_cls']) for shown in rows] == [('X-Learner (paper)', 77.1), ('ours', 50.0)]


def test_the_papers_single_sets_do_not_affect_measured_rows():
    assert comparable([row('ours', a=50.0), *paper_rows(['X-Learner R152'])])[1].summary['avg_cls'] == 50.0


def test_sets_stand_by_task_and_extra_ones_last():
    voc = make_score('det', 'pascal_voc/AP50', 50.0)
    coco = make_score('det', 'coco/bbox_mAP', 40.0, extra=True)
    first = make_row('x', {'coco': coco, 'voc': voc, 'a': make_score('cls', 'accuracy/top1', 1.0)})
    assert list(all_sets([*paper_rows(['X-Learner R152']), first])) == ['a', 'cifar100', 'voc', 'coco']


class TestBest:
    def test_the_highest_measured_value_is_the_best(self):
        assert best_rows([row('x', a=10.0), row('y', a=20.0)], 'a') == {1}
        assert best_rows([row('x', a=10.0), row('y', a=20.0)], 'avg_cls') == {1}

    def test_the_papers_rows_are_not_compared(self):
        assert best_rows([*paper_rows(['X-Learner++']), row('x', a=10.0), row('y', a=20.0)], 'avg_cls') == {2}

    def test_every_protocol_has_its_own_best(self):
        rows = [row('x', FULL, a=90.0), row('y', FULL, a=80.0), row('x', TENTH, a=10.0), row('y', TENTH, a=20.0)]
        assert best_rows(rows, 'a') == {0, 3}

    @pytest.mark.parametrize('rows', [[row('x', a=10.0)], [row('x', a=10.0), row('y', a=10.0)], [row('x'), row('y')]])
    def test_there_is_no_best_among_equals(self, rows):
        assert best_rows(rows, 'a') == set()


class TestProtocol:
    def test_seeds_do_not_make_rows_differ_and_the_paper_does_not_either(self):
        rows = [row('x', replace(FULL, seeds=1)), row('y', replace(FULL, seeds=3)), *paper_rows()]
        assert not protocols_differ(rows)
        assert protocols_differ([*rows, row('z', TENTH)])

    @pytest.mark.parametrize(
        ('seeds', 'words'), [((2, 2), '2 seeds'), ((1, 3), '1-3 seeds'), ((2, '1-3'), '1-3 seeds')]
    )
    def test_common_statements_hold_for_every_row(self, seeds, words):
        rows = [*paper_rows(['X-Learner']), *(row('x', replace(FULL, seeds=number)) for number in seeds)]
        assert shared_label(rows) == f'frozen, all data, {words}'

    def test_differing_protocols_are_part_of_the_titles(self):
        assert titles_of([row('x', FULL), row('y', FULL)]) == ['x', 'y']
        assert titles_of([row('x', FULL), row('x', TENTH)]) == [
            'x (frozen, all data)',
            'x (frozen, 10% of the data)',
        ]

    @pytest.mark.parametrize(
        ('protocol', 'words'),
        [
            (
                {'frozen': True, 'probe': 'lbfgs', 'data_fraction': 1.0, 'seeds': 3},
                'frozen, lbfgs probe, all data, 3 seeds',
            ),
            ({'frozen': False, 'data_fraction': 0.015, 'seeds': 1}, 'fine-tuned, 1.5% of the data, 1 seed'),
            ({'options': 'image_size=448'}, 'options image_size=448'),
            ({}, 'not recorded'),
        ],
    )
    def test_protocols_are_described_in_words(self, protocol, words):
        assert row('x', RowProtocol(**protocol)).protocol_label == words
