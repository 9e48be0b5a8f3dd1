import pytest

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.expansion import Reconciliation

LEVELS = {'cls': 4, 'det': 4}


def ends(**settings):
    keys = Reconciliation.parse(settings).link_keys(LEVELS)
    return {(k.sender, k.sender_level, k.receiver, k.receiver_level) for k in keys}


def test_by_default_others_send_from_lower_levels_to_levels_0_to_2():
    assert ends() == {
        (k, j, t, i) for k, t in (('cls', 'det'), ('det', 'cls')) for i in (0, 1, 2) for j in range(i + 1)
    }


@pytest.mark.parametrize(
    ('topology', 'relation'),
    [
        ('same', lambda j, i: j == i),
        ('higher', lambda j, i: j >= i),
        ('all', lambda j, i: True),
        ('none', lambda j, i: False),
    ],
)
def test_a_topology_is_a_relation_of_levels(topology, relation):
    wanted = {
        (k, j, t, i) for k, t in (('cls', 'det'), ('det', 'cls')) for i in (0, 1, 2) for j in range(4) if relation(j, i)
    }
    assert ends(topology=topology, fuse='output') == wanted


def test_links_from_a_branch_to_itself():
    assert ('cls', 0, 'cls', 1) in ends(include_self=True)
    assert ('cls', 0, 'cls', 1) not in ends()


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(topology='lowest'), "unknown topology 'lowest'"),
        (dict(fuse='sum'), "unknown fuse 'sum'"),
        (dict(link='ConvLink'), r"link.*dict\(type='ConvLink'\), got 'ConvLink'"),
        (dict(topolgy='lower'), "unknown setting 'topolgy'; did you mean 'topology'"),
        (dict(topology='higher'), "topology='higher' needs fuse='output'"),
        (dict(link_levels=(0, 4)), r"link_levels \[4\] are beyond branch 'cls', whose levels are 0 to 3"),
    ],
)
def test_invalid_combinations_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Reconciliation.parse(settings).link_keys(LEVELS)
