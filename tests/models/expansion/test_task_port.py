import pytest
import torch

from xlearner_mm.models.expansion import TaskPort


class Features:
    def forward_task(self, x, task):
        return tuple(x + level for level in range(4))


def test_a_port_gives_the_levels_its_network_reads():
    port = TaskPort('det', out_indices=(1, 3))
    port.bind(Features())
    assert [float(f) for f in port(torch.zeros(()))] == [1.0, 3.0]


def test_a_port_serves_what_was_computed_already_for_that_very_input():
    port = TaskPort('det', out_indices=(0,))
    port.bind(Features())
    x = torch.zeros(())
    with port.serving(x, (torch.tensor(9.0),)):
        assert port(x)[0] == 9
        assert port(torch.zeros(()))[0] == 0
    assert port(x)[0] == 0


def test_an_unbound_port_says_so():
    with pytest.raises(RuntimeError, match="the port of task 'det' is not bound"):
        TaskPort('det')(torch.zeros(1))
