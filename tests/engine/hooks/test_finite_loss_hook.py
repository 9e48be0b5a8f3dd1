"""A loss that is no number stops the run and says why, or its step is as if it had not been."""

import math
import resource
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.engine.hooks.finite_loss_hook import FiniteLossHook, NonFiniteLossError
from xlearner_mm.engine.recovery.replay import replay_on
from xlearner_mm.engine.recovery.step_record import read_step
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.registry import HOOKS

from ...soak.killing import in_process
from ..ranks import WRAPPERS, exit_statuses, run_ranks
from ..tiny_runner import tiny_runner

FAULTY = 3


@HOOKS.register_module()
class NanHook(Hook):
    """Puts what is no number into the images of ``cars``, the boxes of ``boxes`` or a gradient, in some steps."""

    priority = 'HIGHEST'

    def __init__(self, where, steps, rank):
        self.where, self.steps, self.rank = where, steps, rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for source, data in data_batch.items():
            for i, sample in enumerate(data['data_samples']):
                sample.set_metainfo(dict(img_path=f'{source}/{i}.jpg'))
        if runner.iter + 1 in self.steps and runner.rank == self.rank:
            if self.where == 'images':
                data_batch['cars']['inputs'] = [torch.full((3, 64, 64), math.nan) for _ in range(2)]
            for sample in data_batch['boxes']['data_samples'] if self.where == 'boxes' else []:
                sample.gt_instances.bboxes[:, 2] = math.inf
            if self.where == 'gradients':
                self.handle = next(runner.model.parameters()).register_hook(lambda gradient: gradient * math.nan)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if hasattr(self, 'handle'):
            self.handle.remove()


@HOOKS.register_module()
class StateHook(Hook):
    """Keeps what the model is before every step."""

    priority = 'HIGHEST'

    def before_train(self, runner):
        self.before = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        state = getattr(runner.model, 'module', runner.model).state_dict()
        self.before.append({key: value.clone() for key, value in state.items()})


def runner(folder, policy='stop', limit=10, where='images', steps=(FAULTY,), rank=0, **kwargs):
    hooks = [
        dict(type='NanHook', where=where, steps=steps, rank=rank),
        dict(type='StateHook'),
        dict(type='FiniteLossHook', policy=policy, limit=limit),
    ]
    return tiny_runner(folder, hooks, max_iters=5, **kwargs)


def states(trained):
    return next(hook for hook in trained.hooks if isinstance(hook, StateHook)).before


def stopped(folder, where):
    """Train until step 3 stops it; return the runner, the message and the file."""
    trained = runner(folder / 'work', where=where)
    with pytest.raises(NonFiniteLossError) as error:
        trained.train()
    return trained, str(error.value), folder / 'work' / 'nonfinite_step_3.pth'


def replayed(trained, path):
    """Make the saved step again; the losses must be those that were saved."""
    step = read_step(str(path))
    trained.model.load_state_dict(step['state_dict'])
    replay = replay_on(trained.model, step)
    assert replay.losses.keys() == replay.saved.keys()
    assert torch.equal(*(torch.tensor(list(x.values())).nan_to_num(-1) for x in (replay.losses, replay.saved)))
    return replay


def test_a_non_finite_loss_stops_the_run_and_is_named_with_source_and_images(tmp_path):
    trained, told, path = stopped(tmp_path, 'boxes')
    assert told.startswith('step 3: boxes.loss_bbox = ')
    assert "images of source 'boxes': boxes/0.jpg, boxes/1.jpg; saved in" in told
    assert 'cars' not in told
    assert str(path) in told
    assert len(told.splitlines()) == 1
    assert replayed(trained, path).first == 'networks.boxes.bbox_head.loss_bbox'


def test_weights_stay_finite_and_the_replayed_step_names_the_module(tmp_path):
    trained, told, path = stopped(tmp_path, 'images')
    assert told.startswith('step 3: cars.')
    assert "; images of source 'cars': cars/0.jpg, cars/1.jpg; saved in" in told
    for name, parameter in trained.model.named_parameters():
        assert torch.equal(parameter, states(trained)[-1][name]), name
    assert replayed(trained, path).first == 'backbone.branches.cls.backbone.conv1'


def test_nothing_in_a_saved_step_is_executed(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (tmp_path / 'executed').mkdir, ()

    torch.save(dict(place={}, losses={}, batch=Malicious(), state_dict={}), tmp_path / 'step.pth')
    with pytest.raises(CheckpointError, match='saved step'):
        read_step(str(tmp_path / 'step.pth'))
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize('content', [b'', b'no archive at all', None])
def test_files_other_than_saved_steps_are_refused(tmp_path, content):
    """torch's advise to execute what is in the file."""
    path = tmp_path / 'step.pth'
    if content is None:
        torch.jit.script(torch.nn.ReLU()).save(str(path))
    else:
        path.write_bytes(content)
    for read in (read_step, read_checkpoint):
        with pytest.raises(CheckpointError, match='step.pth is ') as error:
            read(str(path))
        assert 'weights_only' not in str(error.value)
        assert len(str(error.value).splitlines()) == 1


def test_a_skipped_step_changes_no_weight_and_no_statistic_and_is_counted(tmp_path):
    trained = runner(tmp_path / 'work', 'skip')
    trained.train()
    before, after = states(trained)[FAULTY - 1], states(trained)[FAULTY]
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert any(not torch.equal(after[key], value) for key, value in states(trained)[FAULTY + 1].items())
    assert trained.message_hub.get_info('nonfinite_steps') == 1
    assert (tmp_path / 'work' / 'nonfinite_step_3.pth').is_file()


def test_more_steps_than_the_limit_stop_the_run(tmp_path):
    with pytest.raises(NonFiniteLossError, match='step 4: .*2 .*skipped.*limit'):
        runner(tmp_path / 'work', 'skip', limit=2, steps=(2, 3, 4)).train()


CLIPPED = dict(optimizer=dict(type='SGD', lr=0.01), clip_grad=dict(max_norm=10.0))


def test_clipped_non_finite_gradients_stop_before_the_update(tmp_path):
    trained = runner(tmp_path / 'work', where='gradients', optim_wrapper=CLIPPED)
    with pytest.raises(NonFiniteLossError, match='step 3: .*gradients.*not finite.*images.*saved'):
        trained.train()
    for name, parameter in trained.model.named_parameters():
        assert torch.equal(parameter, states(trained)[-1][name]), name


def test_steps_with_non_finite_images_are_skipped(tmp_path):
    trained = runner(tmp_path / 'work', 'skip', where='gradients', optim_wrapper=CLIPPED)
    trained.train()
    before, after = states(trained)[FAULTY - 1], states(trained)[FAULTY]
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert trained.message_hub.get_info('nonfinite_steps') == 1
    assert trained.iter == 5


@pytest.mark.parametrize('policy', ['stop', 'skip'])
def test_weights_that_have_taken_them_are_blamed_and_not_the_next_images(tmp_path, policy):
    trained = runner(tmp_path / 'work', policy, where='gradients')
    with pytest.raises(NonFiniteLossError, match='step 3: weights .*step 4.*loss') as error:
        trained.train()
    assert 'images' not in str(error.value)


@pytest.mark.parametrize(
    ('save_last', 'said'), [(True, 'this checkpoint is not written'), (False, 'the training has ended with them')]
)
def test_non_finite_weights_of_the_last_step_are_not_saved(tmp_path, save_last, said):
    hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=100, save_last=save_last))
    trained = runner(tmp_path / 'work', where='gradients', steps=(5,), default_hooks=hooks)
    with pytest.raises(NonFiniteLossError, match=f'step 5: weights.* not finite.*{said}'):
        trained.train()
    assert not list((tmp_path / 'work').glob('*.pth'))


class FullDiskHook(Hook):
    """From the faulty step on, the system refuses files as large as saved steps."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == FAULTY:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


def test_a_full_disk_loses_the_saved_step_but_not_the_message(tmp_path):
    def work():
        trained = runner(tmp_path / 'work')
        trained.register_hook(FullDiskHook())
        with pytest.raises(NonFiniteLossError, match='step 3: cars.*cars/0.jpg.*not be saved.*File too large'):
            trained.train()

    assert in_process(work, errors=tmp_path / 'errors.txt')
    assert not list((tmp_path / 'work').glob('nonfinite*'))


@pytest.mark.parametrize('wrapper', WRAPPERS, ids=['by branch', 'joint'])
def test_all_ranks_skip_a_step_that_one_cannot_take(tmp_path, wrapper):
    def train(rank):
        cfg = dict(model_wrapper_cfg=wrapper)
        trained = runner(tmp_path / 'work', 'skip', rank=1, launcher='pytorch', cfg=cfg)
        trained.train()
        before, after = states(trained)[FAULTY - 1], states(trained)[FAULTY]
        return all(torch.equal(before[key], after[key]) for key in before), trained.model.module.state_dict()

    (first, state), (second, other) = run_ranks(train, tmp_path / 'ranks')
    assert first
    assert second
    assert all(torch.equal(state[key], other[key]) for key in state if 'running' not in key)


@pytest.mark.parametrize('wrapper', WRAPPERS, ids=['by branch', 'joint'])
def test_no_rank_updates_its_weights_when_another_stops(tmp_path, wrapper):
    def train(rank):
        trained = runner(tmp_path / 'work', rank=1, launcher='pytorch', cfg=dict(model_wrapper_cfg=wrapper))
        # The rank that stops leaves, and the other's collective breaks.
        with pytest.raises(NonFiniteLossError if rank == 1 else RuntimeError, match='cars' if rank == 1 else ''):
            trained.train()
        before = states(trained)[-1]
        same = all(torch.equal(p, before[name]) for name, p in trained.model.module.named_parameters())
        return 0 if same and trained.iter == FAULTY - 1 else 1

    assert exit_statuses(train, tmp_path / 'ranks') == [0, 0]


@OPTIM_WRAPPERS.register_module()
class OverflowingOptimWrapper(OptimWrapper):
    """Scales losses as mixed precision does, on a CPU, and overflows in the first step, as a dynamic scale may."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**127)

    def backward(self, loss, **kwargs):
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs):
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()


def test_overflow_of_a_loss_scaler_is_not_a_failure(tmp_path):
    scaled = dict(type='OverflowingOptimWrapper', optimizer=dict(type='SGD', lr=0.01))
    trained = runner(tmp_path / 'work', steps=(), optim_wrapper=scaled)
    trained.train()
    first, second = states(trained)[:2]
    assert trained.optim_wrapper.scaler.get_scale() < 2.0**127
    assert all(torch.equal(first[name], second[name]) for name, _ in trained.model.named_parameters())
    assert trained.iter == 5


def test_impossible_settings_are_errors(tmp_path):
    with pytest.raises(ConfigError, match="policy.*'ignore'"):
        FiniteLossHook('ignore')
    with pytest.raises(ConfigError, match='limit=-1.* 0'):
        FiniteLossHook('skip', -1)
    accumulating = dict(optimizer=dict(type='SGD', lr=0.01), accumulative_counts=2)
    with pytest.raises(ConfigError, match='accumulative_counts=1'):
        runner(tmp_path / 'work', 'skip', optim_wrapper=accumulating).train()


def test_buffers_are_those_of_modules_that_were_replaced_or_added():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.Sequential(torch.nn.BatchNorm2d(3)))
    hook, runner = FiniteLossHook(), SimpleNamespace(model=model)

    def kept():
        hook.before_train_iter(runner, 0)
        return dict(hook._before)

    assert set(kept()) == {name for name, _ in model.named_buffers()}
    model[1][0] = torch.nn.BatchNorm2d(5)
    model[0].running_mean = torch.arange(2.0)
    model[1].add_module('further', torch.nn.BatchNorm2d(1))
    assert kept().keys() == dict(model.named_buffers()).keys()
    for name, buffer in model.named_buffers():
        assert torch.equal(hook._before[name], buffer)
        assert hook._before[name] is not buffer
