"""Choice of the checkpoint to resume from in a work directory."""

import os
import shutil

import pytest
import torch

from xlearner_mm.atomic import atomic_write, atomic_write_text
from xlearner_mm.checkpoint import resolve_checkpoint
from xlearner_mm.engine.recovery.resume_point import Places, resume_point
from xlearner_mm.errors import CheckpointError


@pytest.fixture
def work_dir(tmp_path):
    for step in (5, 10, 9):
        torch.save(dict(state_dict=dict(weight=torch.rand(1000))), tmp_path / f'iter_{step}.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_10.pth'))
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b'')


@pytest.mark.parametrize('damage', [cut, flip, empty, os.remove])
def test_damaged_checkpoints_fall_back_to_the_next_older(work_dir, damage):
    assert resume_point(str(work_dir)) == str(work_dir / 'iter_10.pth')
    damage(work_dir / 'iter_10.pth')
    assert resume_point(str(work_dir)) == str(work_dir / 'iter_9.pth')
    damage(work_dir / 'iter_9.pth')
    assert resume_point(str(work_dir)) == str(work_dir / 'iter_5.pth')


def test_if_all_checkpoints_are_damaged_all_are_named(work_dir):
    for step in (5, 9, 10):
        flip(work_dir / f'iter_{step}.pth')
    with pytest.raises(CheckpointError, match=r'iter_10.pth is damaged.*iter_9.pth is damaged.*iter_5.pth is damaged'):
        resume_point(str(work_dir))


@pytest.mark.parametrize('pointer', ['', 'iter_12.pth', None])
def test_without_a_valid_pointer_the_newest_checkpoint_is_used(work_dir, pointer):
    (work_dir / 'last_checkpoint').unlink() if pointer is None else (work_dir / 'last_checkpoint').write_text(pointer)
    assert resume_point(str(work_dir)) == str(work_dir / 'iter_10.pth')


def test_later_checkpoints_belong_to_another_training(work_dir):
    """An earlier one in the same directory has saved it."""
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_9.pth'))
    flip(work_dir / 'iter_9.pth')
    assert resume_point(str(work_dir)) == str(work_dir / 'iter_5.pth')
    torch.save(dict(state_dict={}), work_dir / 'epoch_1.pth')
    os.remove(work_dir / 'iter_5.pth')
    os.remove(work_dir / 'iter_9.pth')
    with pytest.raises(CheckpointError, match=r'iter_9.pth.* gone.*later'):
        resume_point(str(work_dir))


def test_a_copied_work_dir_uses_its_own_checkpoint(work_dir, monkeypatch):
    monkeypatch.chdir(work_dir.parent)
    (work_dir / 'last_checkpoint').write_text(f'{work_dir.name}/iter_10.pth')
    copy = shutil.copytree(work_dir, f'{work_dir.name}_copy')
    assert resume_point(copy) == f'{copy}/iter_10.pth'
    assert resolve_checkpoint(copy) == f'{copy}/iter_10.pth'
    flip(work_dir.parent / copy / 'iter_10.pth')
    assert resume_point(copy) == f'{copy}/iter_9.pth'


@pytest.mark.parametrize('pointer', [True, False])
def test_checkpoints_are_looked_for_where_and_as_the_config_saves_them(tmp_path, pointer):
    folder = tmp_path / 'out' / 'work'
    folder.mkdir(parents=True)
    (tmp_path / 'work').mkdir()
    for step in (5, 10):
        torch.save(dict(state_dict=dict(weight=torch.rand(1000))), folder / f'step_{step:04d}.pth')
    if pointer:
        (tmp_path / 'work' / 'last_checkpoint').write_text(str(folder / 'step_0010.pth'))
    places = Places(str(tmp_path / 'out'), 'step_{:04d}.pth')
    assert resume_point(str(tmp_path / 'work'), places) == str(folder / 'step_0010.pth')
    flip(folder / 'step_0010.pth')
    assert resume_point(str(tmp_path / 'work'), places) == str(folder / 'step_0005.pth')


def test_a_moved_work_directory_is_read(work_dir):
    moved = work_dir.rename(work_dir.parent / f'{work_dir.name}_moved')
    assert resume_point(str(moved)) == str(moved / 'iter_10.pth')


def test_without_checkpoints_nothing_is_resumed(tmp_path):
    assert resume_point(str(tmp_path)) is None
    assert resume_point(str(tmp_path / 'none')) is None


def write_half(path):
    with atomic_write(path) as partial:
        path.with_name(os.path.basename(partial)).write_text('sec')
        raise ZeroDivisionError


def test_file_writes_are_atomic(tmp_path):
    atomic_write_text(tmp_path / 'file', 'first')
    with pytest.raises(ZeroDivisionError):
        write_half(tmp_path / 'file')
    assert (tmp_path / 'file').read_text() == 'first'
    atomic_write_text(tmp_path / 'file', 'second')
    assert (tmp_path / 'file').read_text() == 'second'
    assert os.listdir(tmp_path) == ['file']
