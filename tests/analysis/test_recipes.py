"""Rates, decays, steps and epochs of the configs of paper scale are those of the stock recipes they name."""

from pathlib import Path

import pytest
from mmengine.config import Config

import xlearner_mm  # noqa: F401  (mmseg's configs are found by name)
from xlearner_mm.analysis.recipes import STOCK as SOURCES
from xlearner_mm.analysis.recipes import source_table, source_training, stock_training
from xlearner_mm.transfer.recipes import STOCK, differences, transfer_table, transfer_trainings

CONFIGS = Path(__file__).parents[2] / 'configs'
SCHEDULE = CONFIGS / '_base_' / 'schedules' / 'pretrain_500k.py'


@pytest.fixture(scope='module')
def trainings():
    return transfer_trainings(CONFIGS / 'transfer')


def test_a_transfer_is_its_stock_recipe_on_one_gpu_and_on_eight(trainings):
    found = {name: differences(trainings[name]) for name in STOCK}
    assert found == {'voc0712': [], 'coco': [], 'voc12': [], 'ade20k': [], 'nyu': ['rate']}
    assert all(len(trainings[name]) == 3 for name in STOCK)
    assert (trainings['voc12'][0].epochs, trainings['voc12'][0].images_per_step) == ('30.2', 16)
    assert trainings['nyu'][0].images_per_step == 32


def test_a_probe_by_sgd_is_the_same_on_one_gpu_and_on_eight(trainings):
    probes = set(trainings) - set(STOCK)
    assert len(probes) == 10
    assert {name: differences(trainings[name]) for name in probes} == {name: [] for name in probes}


def test_the_readme_s_tables_are_those_that_the_tool_prints(trainings):
    assert transfer_table(trainings) in (CONFIGS / 'transfer' / 'README.md').read_text()
    assert source_table(CONFIGS / '_base_') in (CONFIGS / 'expansion' / 'README.md').read_text()


def test_every_source_of_paper_scale_has_a_recipe():
    files = {path.stem for path in (CONFIGS / '_base_' / 'sources').glob('*.py')}
    assert {name for name in files if not name.startswith(('mini_', 'photo_'))} == set(SOURCES)


@pytest.mark.parametrize('name', SOURCES)
def test_parameters_of_a_source_have_its_stock_rate_and_decay(name):
    source = Config.fromfile(CONFIGS / '_base_' / 'sources' / f'{name}.py')[name]
    own = source_training(source, name, Config.fromfile(SCHEDULE))
    assert (own.rate, own.decay) == pytest.approx(stock_training(name, own.images))
