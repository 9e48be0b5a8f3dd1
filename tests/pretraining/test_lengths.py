"""Lengths of the stages follow from wishes, the data, or a budget that pays for everything."""

import pytest

from tests.pretraining.conftest import CPU, GPU
from xlearner_mm.errors import ConfigError
from xlearner_mm.pretraining.lengths import (
    OTHER_JOBS,
    Costs,
    Lengths,
    choose_lengths,
    lengths_within,
    parse_budget,
    squeeze_steps,
    validations,
)


def test_epochs_are_those_of_the_source_that_needs_most_steps():
    lengths = choose_lengths({'large': 3000, 'dear': 1000}, {'large': 30, 'dear': 5}, CPU, epochs=3)
    assert lengths.expansion == 600
    assert '`dear`' in lengths.reason


def test_a_step_after_the_warm_up_is_left_of_any_epochs():
    assert choose_lengths({'tiny': 10}, {'tiny': 5}, CPU, epochs=0.1).expansion == 2


def test_the_default_length_has_a_minimum():
    assert choose_lengths({'tiny': 10}, {'tiny': 5}, CPU).expansion == 500
    assert choose_lengths({'large': 64_000}, {'large': 64}, GPU).expansion == 100_000
    assert choose_lengths({'large': 64_000}, {'large': 64}, GPU, steps=7).expansion == 7


def test_the_squeeze_is_half_as_long_again_at_first_and_then_the_slides_share():
    assert squeeze_steps(450) == 675
    assert squeeze_steps(3000) == 3000
    assert squeeze_steps(500_000) == 200_000
    lengths = [squeeze_steps(steps) for steps in range(1, 10_000, 7)]
    assert lengths == sorted(lengths)


def seconds_of(lengths, costs):
    """Return the time of the whole call: what it may spend on planning and other jobs included."""
    return costs.of_expansion(lengths.expansion) + costs.of_squeeze(lengths.squeeze)


def one_more(lengths):
    return Lengths(lengths.expansion + 1, squeeze_steps(lengths.expansion + 1), '')


@pytest.mark.parametrize('costs', [Costs(0.5, 0.0, 0.0), Costs(0.5, 0.2, 0.0), Costs(0.5, 0.2, 40.0)])
@pytest.mark.parametrize('spent', [0.0, 100.0])
def test_a_budget_is_used_up_and_not_exceeded(costs, spent):
    lengths = lengths_within(3600, spent, costs)
    left = 0.95 * (3600 - spent - sum(OTHER_JOBS.values()))
    assert seconds_of(lengths, costs) <= left < seconds_of(one_more(lengths), costs)
    assert f'after {spent:.0f} s of planning' in lengths.reason


def test_every_validation_and_the_score_of_the_teachers_are_paid_for():
    with_steps_alone, with_validation = Costs(1.0, 1.0, 0.0), Costs(1.0, 1.0, 7.0)
    for steps, count in ((999, 1), (1000, 5)):
        assert validations(steps) == count
        assert with_validation.of_expansion(steps) - with_steps_alone.of_expansion(steps) == 7 * count
        assert with_validation.of_squeeze(steps) - with_steps_alone.of_squeeze(steps) == 7 * (count + 1)
    assert Costs(1.0, 0.0, 7.0).of_squeeze(1000) == 0, 'one task has no squeeze'


@pytest.mark.parametrize('budget', [1, 10, 200])
def test_a_budget_for_nothing_names_one_that_would_do(budget):
    costs = Costs(5.0, 5.0, 3.0)
    with pytest.raises(ConfigError, match=r'at least \d+s') as refused:
        lengths_within(budget, 20.0, costs)
    enough = str(refused.value).rsplit(' ', 1)[1]
    assert lengths_within(parse_budget(enough), 20.0, costs).expansion >= 10


@pytest.mark.parametrize(('text', 'seconds'), [('8h', 28800), ('90m', 5400), ('1.5d', 129600), ('30s', 30)])
def test_budgets_are_times(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize('text', ['8', 'h', '0h', '-1h', '8 hours', ''])
def test_other_budgets_are_refused(text):
    with pytest.raises(ConfigError, match="'8h'"):
        parse_budget(text)
