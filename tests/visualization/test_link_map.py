import pytest
import torch

from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.expansion.reconciliation import LinkKey
from xlearner_mm.visualization.link_map import read_links, save_link_map


@pytest.fixture
def checkpoint(tmp_path):
    links = [['det', 0, 'cls', 0, 0.25], ['det', 0, 'cls', 1, 0.5], ['cls', 0, 'det', 0, 0.0]]
    torch.save(dict(state_dict={}, meta=dict(xlearner_links=dict(step=40, links=links))), tmp_path / 'iter_40.pth')
    return str(tmp_path / 'iter_40.pth')


def test_strengths_are_read_as_they_were_measured(checkpoint):
    step, strengths = read_links(checkpoint)
    assert step == 40
    assert strengths[LinkKey('det', 0, 'cls', 1)] == 0.5


def test_the_map_is_an_image(checkpoint, tmp_path):
    save_link_map(read_links(checkpoint)[1], tmp_path / 'new' / 'links.png', 'links')
    assert (tmp_path / 'new' / 'links.png').read_bytes().startswith(b'\x89PNG')


def test_zero_links_can_be_drawn(tmp_path):
    save_link_map({LinkKey('a', 0, 'b', 0): 0.0}, tmp_path / 'links.png', 'links')
    assert (tmp_path / 'links.png').is_file()


def test_a_checkpoint_without_strengths_is_refused(tmp_path):
    torch.save(dict(state_dict={}, meta={}), tmp_path / 'squeeze.pth')
    with pytest.raises(CheckpointError, match=r'squeeze.pth .*no link strengths: .* LinkStrengthHook'):
        read_links(str(tmp_path / 'squeeze.pth'))


def test_the_command_draws_and_names_the_strongest(checkpoint, tmp_path, run_tool):
    _, output, errors = run_tool('visualize_links.py', checkpoint, '--out', tmp_path / 'drawn.png')
    assert 'drawn.png: 3 links at step 40; strongest from det 0 to cls 1: 0.5' in output, errors
    assert (tmp_path / 'drawn.png').is_file()
