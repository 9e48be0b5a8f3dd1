"""Progress file of a training."""

import pytest

from xlearner_mm.pipeline.progress import PROGRESS_FILE, Progress

from ..toy_training import interrupted_and_resumed, toy_runner, trained


@pytest.mark.parametrize('length', [dict(steps=6), dict(epochs=3)], ids=['steps', 'epochs'])
def test_progress_of_a_training_is_complete_at_its_end(tmp_path, length):
    trained(tmp_path, **length)
    progress = Progress.read(tmp_path)
    assert (progress.step, progress.steps, progress.first) == (6, 6, 1)
    assert progress.seconds > 0


def test_a_resumed_training_counts_from_its_step(tmp_path):
    interrupted_and_resumed(tmp_path, 4, steps=6)
    progress = Progress.read(tmp_path)
    assert (progress.step, progress.steps, progress.first) == (6, 6, 5)


def test_a_file_that_cannot_be_written_does_not_end_the_training(tmp_path, caplog):
    (tmp_path / PROGRESS_FILE).mkdir()
    runner = toy_runner(tmp_path, steps=3)
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert runner.iter == 3
    assert caplog.text.count(PROGRESS_FILE) == 1
