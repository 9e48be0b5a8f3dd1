"""One method's row: what it sums up, and when it refuses to."""

import pytest

from xlearner_mm.report.rows import RowProtocol, Score, SourceScore, make_row, make_score


def cls(*values, extra=False):
    return make_score('cls', 'accuracy/top1', values, extra)


def test_a_score_of_one_seed_has_no_deviation():
    assert make_score('det', 'pascal_voc/AP50', 12.5) == Score('det', 'pascal_voc/AP50', 12.5)


def test_a_score_over_seeds_has_mean_and_sample_standard_deviation():
    score = cls(1.0, 2.0, 6.0)
    assert score.value == 3.0
    assert score.values == [1.0, 2.0, 6.0]
    assert score.std == pytest.approx(2.65, abs=0.005)  # square root of ((4 + 1 + 9) / (3 - 1))


def test_a_set_without_values_is_kept_as_one_that_failed():
    assert cls().value is None


def test_the_summaries_are_means_over_a_tasks_sets():
    row = make_row('x', {'a': cls(10), 'b': cls(20), 'voc': make_score('det', 'pascal_voc/AP50', 50)})
    assert row.summary == {'avg_cls': 15, 'det_ap50': 50, 'seg_miou': None, 'depth_delta1': None}


def test_a_failed_set_leaves_its_tasks_summary_out_but_not_the_others():
    row = make_row('x', {'a': cls(10), 'b': cls(), 'voc': make_score('det', 'pascal_voc/AP50', 50)})
    assert (row.summary['avg_cls'], row.summary['det_ap50']) == (None, 50)


def test_an_extra_set_has_no_part_in_the_summary_whether_it_succeeds_or_not():
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


def test_a_row_is_known_by_method_and_protocol_whatever_the_seeds():
    def known(name, **protocol):
        return make_row(name, {}, protocol=RowProtocol(**protocol)).identity

    assert known('x', frozen=True, seeds=1) == known('x', frozen=True, seeds=3)
    assert len({known('x', frozen=True), known('x', frozen=False), known('y', frozen=True), known('x')}) == 4
