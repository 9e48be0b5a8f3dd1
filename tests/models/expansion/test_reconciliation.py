import pytest
import torch

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.expansion import Reconciliation, ReconciliationLink

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


def test_a_branch_may_send_to_itself():
    assert ('cls', 0, 'cls', 1) in ends(include_self=True)
    assert ('cls', 0, 'cls', 1) not in ends()


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(topology='lowest'), "unknown topology 'lowest'"),
        (dict(fuse='sum'), "unknown fuse 'sum'"),
        (dict(link='conv1x1'), "unknown link 'conv1x1'"),
        (dict(topolgy='lower'), "unknown setting 'topolgy'; did you mean 'topology'"),
        (dict(topology='higher'), "topology='higher' needs fuse='output'"),
        (dict(link_levels=(0, 4)), r"link_levels \[4\] are beyond branch 'cls', whose levels are 0 to 3"),
    ],
)
def test_what_cannot_work_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Reconciliation.parse(settings).link_keys(LEVELS)


@pytest.mark.parametrize('link', ['conv3x3', 'pool1x1'])
@pytest.mark.parametrize(('in_stride', 'out_stride'), [(4, 4), (4, 8), (4, 32), (16, 4)])
def test_a_new_link_adds_nothing_and_has_the_receivers_shape(link, in_stride, out_stride):
    gamma = ReconciliationLink(6, 10, in_stride, out_stride, link=link)
    gamma.init_weights()
    size = (64 // out_stride, 96 // out_stride)
    out = gamma(torch.randn(2, 6, 64 // in_stride, 96 // in_stride), size)
    assert out.shape == (2, 10, *size)
    assert out.abs().max() == 0


def test_a_new_link_can_learn():
    gamma = ReconciliationLink(6, 10, 4, 16)
    gamma.init_weights()
    gamma(torch.randn(2, 6, 16, 16), (4, 4)).square().mean().backward()
    out = gamma(torch.randn(2, 6, 16, 16), (4, 4))
    (out * torch.randn_like(out)).sum().backward()
    assert list(gamma.parameters())[-2].grad.abs().sum() > 0


def test_pooling_links_need_a_fraction_of_the_parameters():
    def size(link):
        return sum(p.numel() for p in ReconciliationLink(64, 256, 4, 16, link=link).parameters())

    assert size('pool1x1') < size('conv3x3') / 5


def test_strides_that_are_no_power_of_two_apart_are_refused():
    with pytest.raises(ConfigError, match='stride 4 to stride 12 is not a power of two'):
        ReconciliationLink(4, 4, 4, 12)
