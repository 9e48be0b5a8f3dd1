"""Choice of a checkpoint in a work directory, and of weights in a checkpoint."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook

from xlearner_mm.checkpoint import choose_weights, read_checkpoint, resolve_checkpoint
from xlearner_mm.errors import CheckpointError, ConfigError


@pytest.fixture
def work_dir(tmp_path):
    for name, value in (('iter_8.pth', 8.0), ('iter_9.pth', 9.0), ('best_mean_share_iter_8.pth', 8.0)):
        torch.save({'state_dict': {'w': torch.tensor(value)}}, tmp_path / name)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_9.pth'))
    return tmp_path


@pytest.mark.parametrize(('which', 'value'), [('last', 9), ('best', 8)])
def test_a_work_directory_has_a_last_and_a_best_checkpoint(work_dir, which, value):
    assert read_checkpoint(str(work_dir), which)['state_dict']['w'] == value


def test_best_needs_save_best(work_dir):
    (work_dir / 'best_mean_share_iter_8.pth').unlink()
    with pytest.raises(CheckpointError, match='save_best in default_hooks.checkpoint'):
        resolve_checkpoint(str(work_dir), 'best')


def test_the_best_by_several_metrics_must_be_named(work_dir):
    torch.save({}, work_dir / 'best_coco_iter_7.pth')
    with pytest.raises(CheckpointError, match=r"\['best_coco_iter_7.pth', 'best_mean_share_iter_8.pth'\]: name"):
        resolve_checkpoint(str(work_dir), 'best')


def test_a_file_has_no_best_or_last_checkpoint(work_dir):
    with pytest.raises(CheckpointError, match='no work directory'):
        resolve_checkpoint(str(work_dir / 'iter_9.pth'), 'best')
    with pytest.raises(ConfigError, match="unknown 'newest'"):
        resolve_checkpoint(str(work_dir), 'newest')


@pytest.fixture
def averaged():
    """A checkpoint as mmengine's EMAHook leaves it, with the weights of the model and of the average."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    runner = SimpleNamespace(model=model, iter=1)
    hook = EMAHook(momentum=0.5)
    hook.before_run(runner)
    hook.after_train_iter(runner, 0)
    with torch.no_grad():
        model[0].weight.add_(1)
        model[1].running_mean.add_(1)
    hook.after_train_iter(runner, 1)
    own = {key: value.clone() for key, value in model.state_dict().items()}
    average = {key: value.clone() for key, value in hook.ema_model.module.state_dict().items()}
    checkpoint = {'state_dict': model.state_dict()}
    hook.before_save_checkpoint(runner, checkpoint)
    return checkpoint, own, average


@pytest.mark.parametrize(('ema', 'which'), [(None, 'average'), (True, 'average'), (False, 'own')])
def test_the_moving_average_or_the_models_own_weights(averaged, ema, which):
    checkpoint, own, average = averaged
    assert not torch.equal(own['0.weight'], average['0.weight'])
    chosen, wanted = choose_weights(checkpoint, ema, 'x.pth'), own if which == 'own' else average
    assert chosen.keys() == wanted.keys()
    assert all(torch.equal(chosen[key], wanted[key]) for key in wanted)


def test_a_missing_moving_average_is_refused():
    checkpoint = {'state_dict': {'w': torch.ones(1)}}
    with pytest.raises(CheckpointError, match=r'x\.pth .*no moving average'):
        choose_weights(checkpoint, True, 'x.pth')
    assert choose_weights(checkpoint, False, 'x.pth') == checkpoint['state_dict']
