from pathlib import Path

import pytest

from xlearner_mm.mini import CATALOG, make_mini

from .trained_stages import save_expansion, save_squeeze

CONFIGS = Path(__file__).parents[2] / 'configs' / 'mini'


@pytest.fixture(scope='session')
def mini_root(tmp_path_factory):
    """A folder in which the mini configs find their sources, a few pictures of each."""
    root = tmp_path_factory.mktemp('mini')
    sources = [entry.name for entry in CATALOG.values() if entry.role == 'source']
    make_mini(root / 'data' / 'xl_mini', only=sources, scale=0.02)
    return root


@pytest.fixture
def inside(mini_root, monkeypatch):
    monkeypatch.chdir(mini_root)
    return mini_root


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """Checkpoints as trainings leave them: one of the expansion stage, two of a squeeze of it."""
    root = tmp_path_factory.mktemp('trained')
    expansion = save_expansion(root / 'expansion')
    return expansion, *save_squeeze(root / 'squeeze', expansion)
