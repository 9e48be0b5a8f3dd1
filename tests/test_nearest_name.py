import pytest

from xlearner_mm.nearest_name import misspelled, nearest, settings_of


class Base:
    def __init__(self, depth, width=1, **kwargs):
        pass


class HandsOn(Base):
    def __init__(self, *stages, norm=None, **kwargs):
        super().__init__(**kwargs)


class Closed(Base):
    def __init__(self, norm=None):
        super().__init__(1)


class Inherits(Closed):
    pass


def make(*, norm='BN', **kwargs) -> Base:
    pass


def collate(samples, pad=0):
    pass


def test_the_nearest_name_is_suggested_or_all_are_listed():
    assert nearest('depht', ['depth', 'width']) == "; did you mean 'depth'?"
    assert nearest('color', ['depth', 'width'], 'choices') == "; choices: ['depth', 'width']"


@pytest.mark.parametrize(
    ('taker', 'names'),
    [
        (Base, ['depth', 'width']),
        (HandsOn, ['norm', 'depth', 'width']),
        (Closed, ['norm']),
        (Inherits, ['norm']),
        (collate, ['samples', 'pad']),
        (make, ['norm', 'depth', 'width']),
        (object, []),
    ],
)
def test_settings_include_those_passed_on_by_kwargs(taker, names):
    assert settings_of(taker) == names


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('custom_hook', 'custom_hooks'),
        ('load_form', 'load_from'),
        ('evn_cfg', 'env_cfg'),
        ('resum', 'resume'),
        ('custom_hooks', None),
        ('models', None),
        ('mode', None),
        ('text_cfg', None),
        ('num_classes', None),
    ],
)
def test_only_near_names_count_as_misspelled(name, meant):
    known = ['model', 'custom_hooks', 'default_hooks', 'load_from', 'env_cfg', 'resume', 'test_cfg']
    assert misspelled(name, known) == meant
