"""Checkpoints of both stages, and a folder of transfer configs."""

import pytest

from tests.export.conftest import trained  # noqa: F401


@pytest.fixture
def configs(tmp_path):
    """A folder with an empty config of each task."""
    for name in ('seg_voc', 'det_voc', 'cls_cars', 'depth_nyu'):
        (tmp_path / f'{name}.py').write_text('')
    return tmp_path
