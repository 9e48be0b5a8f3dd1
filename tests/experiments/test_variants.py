"""The slides' variants: their trainings and the inputs of each."""

from pathlib import Path

import pytest
from mmengine.config import Config

from xlearner_mm.experiments.variants import FAMILIES, MINI

ROOT = Path(__file__).parents[2]
SLIDES = [
    *(
        'hard_sharing',
        'xlearner',
        'xlearner_pp',
        'xlearner_seg',
        'xlearner_wo_rec',
        'xlearner_t',
        'xlearner_r',
        'xlearner_p',
    )
]

READING = [(family, name) for family in FAMILIES.values() for name, own in family.trainings.items() if own.reads]


@pytest.fixture(autouse=True)
def inside_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_every_variant_of_the_slides_is_there():
    assert set(SLIDES) <= set(MINI.variants)


@pytest.mark.parametrize('family', FAMILIES.values(), ids=FAMILIES)
def test_every_config_of_a_training_belongs_to_a_variant(family):
    configs = {path.stem for path in (ROOT / family.configs).rglob('*.py') if path.parent.name != 'transfer'}
    assert configs == set(family.trainings)
    assert {training for name in family.variants for training in family.trainings_of(name)} == set(family.trainings)


@pytest.mark.parametrize(('family', 'name'), READING, ids=[f'{family.name}-{name}' for family, name in READING])
def test_settings_that_a_training_reads_are_accepted(family, name):
    cfg = Config.fromfile(str(family.configs / family.trainings[name].config))
    for key in family.trainings[name].reads:
        parent, _, last = key.rpartition('.')
        assert last in (cfg.get(parent) if '.' not in parent and parent else dig(cfg, parent))


def dig(cfg, path):
    for key in path.split('.') if path else []:
        cfg = cfg[key]
    return cfg
