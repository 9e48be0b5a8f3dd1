from __future__ import annotations

from pathlib import Path

import pytest

from xlearner_mm.mini import make_mini

SCALE = 0.01


@pytest.fixture(scope='session')
def mini_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of XL-Mini at a hundredth of its size."""
    root = tmp_path_factory.mktemp('xl_mini')
    make_mini(root, scale=SCALE)
    return root
