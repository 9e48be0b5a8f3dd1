"""Text log and TensorBoard of a training have the same numbers."""

import pytest

from ..tiny_runner import tiny_runner

HOOKS = [dict(type='SourceEpochHook'), dict(type='BranchGradientHook'), dict(type='LinkStrengthHook')]
WANTED = (
    'loss',
    'birds.loss',
    'boxes.loss_bbox',
    'masks.decode.loss_ce',
    'lr',
    'source_epoch/cars',
    'gradient/seg',
    'link/det0_to_cls1',
)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The work directory of a training of four steps that logged after the second and the fourth."""
    folder = tmp_path_factory.mktemp('logged')
    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    visualizer = dict(type='Visualizer', name=folder.name, vis_backends=backends)
    tiny_runner(folder, HOOKS, visualizer=visualizer, log_level='INFO').train()
    return folder


def test_the_text_log_has_them(trained):
    lines = [line for line in next(trained.glob('*/*.log')).read_text().splitlines() if 'Iter(train)' in line]
    assert len(lines) == 2
    assert 'eta:' in lines[0]
    for name in WANTED:
        assert f'{name}: ' in lines[0]


def test_tensorboard_has_them(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(trained.glob('*/vis_data'))))
    events.Reload()
    for name in WANTED:
        assert [event.step for event in events.Scalars(name)] == [2, 4]
