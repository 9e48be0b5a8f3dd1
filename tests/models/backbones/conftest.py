import pytest
from mmengine.logging import MMLogger


@pytest.fixture
def logged(caplog):
    """A function that returns what XLearnerResNet has logged: level and line."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('INFO')
    logger.addHandler(caplog.handler)
    yield lambda: [
        (r.levelname, r.getMessage()) for r in caplog.records if r.getMessage().startswith('XLearnerResNet:')
    ]
    logger.removeHandler(caplog.handler)
    logger.setLevel(level)
