"""Wishes: folders get names, and what cannot be is refused."""

import pytest

from xlearner_mm.errors import ConfigError
from xlearner_mm.pretraining.request import Request, named_folders


def test_folders_are_named_as_they_are_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a=b').mkdir()
    assert named_folders(['data/My birds-2', 'streets=x/y', 'a=b']) == {
        'my_birds_2': str(tmp_path / 'data/My birds-2'),
        'streets': str(tmp_path / 'x/y'),
        'a_b': str(tmp_path / 'a=b'),
    }
    assert named_folders({'birds': tmp_path}) == {'birds': str(tmp_path)}
    assert named_folders(['data/birds/train']) == {'birds': str(tmp_path / 'data/birds/train')}
    monkeypatch.setenv('HOME', str(tmp_path))
    assert named_folders(['~/birds', 'cats=~/felines']) == {
        'birds': str(tmp_path / 'birds'),
        'cats': str(tmp_path / 'felines'),
    }
    assert named_folders('data/birds') == {'birds': str(tmp_path / 'data/birds')}


@pytest.mark.parametrize(
    'given', [['2birds'], ['class=x'], ['my-birds=x'], ['losses=x'], ['a__b=x'], ['=x'], ['type=x'], ['x/a', 'y/a']]
)
def test_names_that_no_source_can_have_are_refused(given):
    with pytest.raises(ConfigError, match='NAME=FOLDER'):
        named_folders(given)


@pytest.mark.parametrize('given', [['birds='], {'birds': ''}, {'birds': None}])
def test_a_name_without_a_folder_is_refused(given):
    with pytest.raises(ConfigError, match="'birds' names the folder .*NAME=FOLDER"):
        named_folders(given)


@pytest.mark.parametrize(('given', 'named'), [(3, 'got 3'), ([('birds', 'x')], r"\('birds', 'x'\) is no folder")])
def test_what_is_no_folder_is_refused(given, named):
    with pytest.raises(ConfigError, match=named):
        named_folders(given)


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        ({'folders': {}}, 'no folder'),
        ({'folders': {'cls': {'a': 'x'}, 'det': {'a': 'y'}}}, r"\['a'\]"),
        ({'budget': '1h', 'epochs': 3.0}, "'1h'.*3"),
        ({'budget': '1h', 'steps': 3}, "'1h' and steps 3"),
        ({'epochs': 3.0, 'steps': 3}, 'epochs 3.0 and steps 3'),
        ({'epochs': 0.0}, 'epochs'),
        ({'epochs': float('inf')}, 'epochs'),
        ({'epochs': '3'}, "epochs.*'3'"),
        ({'steps': 1}, 'steps'),
        ({'steps': 1.5}, 'steps'),
        ({'workers': -1}, 'workers'),
        ({'seed': -1}, 'seed'),
        ({'seed': 2**32}, 'seed'),
        ({'seed': None}, 'seed'),
        ({'budget': 'soon'}, "'soon'"),
    ],
)
def test_impossible_wishes_are_refused(settings, named):
    with pytest.raises(ConfigError, match=named):
        Request(**{'folders': {'cls': {'a': 'x'}}, **settings})
