"""What all tests share: one thread, fixed seeds, no state left behind."""

import logging
import os

# Two threads that wait for each other on a busy machine are many times slower than one.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state, and leaves mmengine's scope as it found it."""
    torch = pytest.importorskip('torch')
    torch.manual_seed(0)
    torch.set_num_threads(1)
    from mmengine.logging import MMLogger
    from mmengine.registry import DefaultScope

    # mmengine logs every initialised parameter when no log file is open.
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    scopes = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(scopes)
