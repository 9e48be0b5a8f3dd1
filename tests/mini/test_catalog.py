from __future__ import annotations

from xlearner_mm.mini import CATALOG
from xlearner_mm.mini.recipes import RECIPES


def of_role(role):
    return [entry for entry in CATALOG.values() if entry.role == role]


def test_catalog_has_the_expected_sets():
    tasks = {role: [e.task for e in of_role(role)] for role in ('source', 'transfer')}
    assert [tasks['source'].count(t) for t in ('cls', 'det', 'seg')] == [3, 2, 1]
    assert tasks['transfer'].count('cls') >= 4
    assert {'det', 'seg', 'depth'} <= set(tasks['transfer'])


def test_no_class_of_a_transfer_set_is_in_a_source():
    seen = {name for entry in of_role('source') for name in entry.classes}
    asked = {name for entry in of_role('transfer') for name in entry.classes}
    assert not seen & asked


def test_every_set_has_a_recipe():
    assert set(RECIPES) == set(CATALOG)


def test_the_last_split_is_held_out():
    assert CATALOG['digits'].held_out == 'val'
    assert CATALOG['voc_mini'].held_out == 'test'


def test_scaled_counts_keep_every_class():
    assert CATALOG['letters'].scaled(0.001) == {'train': 20, 'test': 20}
    assert CATALOG['nyu_mini'].scaled(0.1) == {'train': 50, 'test': 20}
