import os
import pickle

import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from xlearner_mm.checkpoint import load_strictly, read_checkpoint, sha256_of, state_dict_of
from xlearner_mm.errors import CheckpointError, print_error

LAYERS = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(10)))


def test_a_training_checkpoint_with_mmengines_histories_is_read(tmp_path):
    path = str(tmp_path / 'iter_1.pth')
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    torch.save({'state_dict': {'w': torch.ones(2)}, 'message_hub': {'log_scalars': {'loss': history}}}, path)
    content = read_checkpoint(path)
    assert content['message_hub']['log_scalars']['loss'].current() == 2.0


def test_a_work_directory_means_its_last_checkpoint(tmp_path):
    torch.save({'state_dict': {'w': torch.ones(1)}}, tmp_path / 'iter_9.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_9.pth'))
    assert read_checkpoint(str(tmp_path))['state_dict']['w'] == 1


def test_a_work_directory_that_was_moved_is_read_where_it_is(tmp_path):
    torch.save({'state_dict': {'w': torch.ones(1)}}, tmp_path / 'iter_9.pth')
    (tmp_path / 'last_checkpoint').write_text('/somewhere/else/iter_9.pth')
    assert read_checkpoint(str(tmp_path))['state_dict']['w'] == 1


def test_a_work_directory_without_checkpoint_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match='holds no last_checkpoint'):
        read_checkpoint(str(tmp_path))


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    path = tmp_path / 'evil.pth'
    torch.save({'state_dict': Evil()}, path)
    with pytest.raises(CheckpointError, match='evil.pth is refused'):
        read_checkpoint(str(path))
    (tmp_path / 'old.pth').write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match='old.pth is refused'):
        read_checkpoint(str(tmp_path / 'old.pth'))
    assert not (tmp_path / 'executed').exists()


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / 'iter_1.pth'
    torch.save({'state_dict': {'w': torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(CheckpointError, match=r'iter_1\.pth is (damaged|refused)'):
        read_checkpoint(str(path))


@pytest.mark.parametrize('key', ['state_dict', 'model'])
def test_prefixes_of_wrappers_are_removed(key):
    w = torch.ones(1)
    assert state_dict_of({key: {'module.w': w, 'module.b': w}}) == {'w': w, 'b': w}


def test_all_and_nothing_else_is_loaded():
    layer = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r'x .*Linear: 1 missing: bias. 1 not .*: c'):
        load_strictly(layer, {'weight': torch.zeros(2, 2), 'c': torch.zeros(1)}, 'x')


@pytest.mark.parametrize(
    ('state', 'found', 'fix'),
    [
        ({}, '20 missing: 0.bias; 0.weight; 1.bias; ', 'this very architecture'),
        (dict.fromkeys(LAYERS.state_dict(), torch.zeros(7)), '20 differing: 0.weight is (7,), ', 'base_channels'),
    ],
)
def test_many_differences_are_shown_in_one_line_with_the_fix(capsys, state, found, fix):
    with pytest.raises(CheckpointError) as error:
        load_strictly(LAYERS, state, 'x')
    print_error(error.value)
    said = capsys.readouterr().err
    assert found in said
    assert ' and 12 more. ' in said
    assert fix in said
    assert said.count(';') == 7
    assert '\n' not in str(error.value)


def test_the_hash_is_that_of_the_file(tmp_path):
    (tmp_path / 'a').write_bytes(b'abc')
    assert sha256_of(str(tmp_path / 'a')).startswith('ba7816bf')
