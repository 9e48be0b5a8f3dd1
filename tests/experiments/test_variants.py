"""The slides' variants: which trainings each takes, and what they read."""

from pathlib import Path

import pytest
from mmengine.config import Config

from xlearner_mm.experiments.variants import TRAININGS, VARIANTS

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


@pytest.fixture(autouse=True)
def inside_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_every_variant_of_the_slides_is_there():
    assert set(SLIDES) <= set(VARIANTS)


def test_every_mini_training_belongs_to_a_variant():
    configs = {path.stem for path in (ROOT / 'configs/mini').rglob('*.py') if path.parent.name != 'transfer'}
    assert configs == set(TRAININGS)
    assert {training for variant in VARIANTS.values() for training in variant.trainings()} == set(TRAININGS)


@pytest.mark.parametrize('name', TRAININGS)
def test_what_a_training_reads_is_a_setting_of_its_config(name):
    cfg = Config.fromfile(f'configs/mini/{TRAININGS[name].config}')
    for key in TRAININGS[name].reads:
        parent, _, last = key.rpartition('.')
        assert last in (cfg.get(parent) if '.' not in parent and parent else dig(cfg, parent))


def dig(cfg, path):
    for key in path.split('.') if path else []:
        cfg = cfg[key]
    return cfg
