import pytest

from xlearner_mm.errors import ConfigError
from xlearner_mm.report.rows import RowProtocol
from xlearner_mm.transfer.protocol import SUITES, Protocol, suite_of


@pytest.mark.parametrize(
    ('settings', 'suffix'),
    [
        ({}, ''),
        ({'seeds': 3}, ''),
        ({'data_fraction': 0.1}, '-10pct'),
        ({'frozen': True, 'probe': 'knn'}, '-frozen-knn'),
        ({'frozen': False, 'data_fraction': 0.025}, '-finetune-2.5pct'),
    ],
)
def test_work_directories_differ_by_protocol_but_not_by_seeds(settings, suffix):
    assert Protocol(**settings).suffix == suffix


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'probe': 'svm'}, "unknown probe 'svm', choose from"),
        ({'data_fraction': 0}, 'above 0 and at most 1, got 0'),
        ({'data_fraction': 10}, 'above 0 and at most 1, got 10'),
        ({'seeds': 0}, 'seeds must be at least 1'),
        ({'frozen': False, 'probe': 'knn'}, 'probe knn needs a frozen backbone.*--finetune'),
        ({'frozen': False, 'probe': 'sgd'}, 'probe sgd needs a frozen backbone.*--finetune'),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Protocol(**settings)


def test_overrides_of_the_configs_are_another_protocol():
    longer, shorter = (Protocol(options=(f'train_cfg.max_iters={steps}',)) for steps in (2, 1))
    assert len({Protocol().suffix, longer.suffix, shorter.suffix}) == 3
    assert longer.of_row(1).options == 'train_cfg.max_iters=2'


def test_frozen_and_probe_are_reported_only_if_they_hold_for_all_sets():
    assert Protocol().of_row(1) == RowProtocol(1.0, 1, probe='lbfgs')
    assert Protocol(frozen=False, seeds=2).of_row('1-2') == RowProtocol(1.0, '1-2', frozen=False)


def test_a_suite_is_one_of_ours_or_a_folder(tmp_path):
    assert suite_of('photo') is SUITES['photo']
    assert suite_of(str(tmp_path)).folder == tmp_path


def test_neither_suite_nor_folder_is_refused_with_the_known_suites():
    with pytest.raises(ConfigError, match=r"'papers'.*paper.*mini.*photo.*folder"):
        suite_of('papers')
