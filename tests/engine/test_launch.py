"""Start of a launched training: from scratch, from weights, or resumed."""

import re
import shutil

import pytest
import torch

from xlearner_mm.engine.launch import launch

from .conftest import CONFIGS
from .test_doors import learner, save_safetensors, training
from .tiny_runner import image_sources

STILL = dict(optimizer=dict(type='SGD', lr=0.0))


def run(folder, work, steps=4, resume=None, checkpoint=None, **settings):
    """Train without moving the weights, saving in every second step; return the exit status."""
    saving = dict(type='CheckpointHook', by_epoch=False, interval=2, **(checkpoint or {}))
    config = training(
        folder,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=steps, val_interval=100),
        default_hooks=dict(checkpoint=saving),
        optim_wrapper=STILL,
        randomness=dict(seed=0),
        **settings,
    )
    return launch('train', config, str(folder / work), resume=resume)


def parameters(path):
    state = torch.load(path, weights_only=False)['state_dict']
    return {key: value for key, value in state.items() if 'running' not in key and 'num_batches' not in key}


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    path.write_bytes(data)


def test_with_nothing_to_resume_load_from_is_used_and_later_its_own_checkpoint(tmp_path):
    weights = save_safetensors(tmp_path, dict(learner(), sources=image_sources()))
    assert run(tmp_path, 'work', steps=2, resume='auto', load_from=weights) == 0
    assert run(tmp_path, 'random', steps=2) == 0
    begun, random = (parameters(tmp_path / work / 'iter_2.pth') for work in ('work', 'random'))
    assert not same(begun, random)
    assert run(tmp_path, 'loaded', steps=2, load_from=weights) == 0
    assert same(begun, parameters(tmp_path / 'loaded' / 'iter_2.pth'))
    shutil.copytree(tmp_path / 'random', tmp_path / 'resumed')
    assert run(tmp_path, 'resumed', resume='auto', load_from=weights) == 0
    assert same(random, parameters(tmp_path / 'resumed' / 'iter_4.pth'))


@pytest.fixture
def begun(tmp_path):
    assert run(tmp_path, 'begun') == 0
    return tmp_path / 'begun'


def test_a_work_dir_resumes_from_its_last_undamaged_checkpoint(tmp_path, begun, capfd):
    (begun / 'last_checkpoint').unlink()
    assert run(tmp_path, 'without_pointer', steps=6, resume=str(begun)) == 0
    flip(begun / 'iter_4.pth')
    assert run(tmp_path, 'damaged', steps=6, resume=str(begun)) == 0
    assert 'iter_4.pth is damaged' in capfd.readouterr().out
    (tmp_path / 'empty').mkdir()
    assert run(tmp_path, 'nowhere', resume=str(tmp_path / 'empty')) == 1
    assert 'empty holds no checkpoint to resume from' in capfd.readouterr().err


def test_names_and_folder_of_checkpoints_are_those_of_the_config(tmp_path, capfd):
    own = dict(filename_tmpl='step_{}.pth', out_dir=str(tmp_path / 'out'))
    assert run(tmp_path, 'work', checkpoint=own) == 0
    flip(tmp_path / 'out' / 'work' / 'step_4.pth')
    assert run(tmp_path, 'work', resume='auto', checkpoint=own, log_level='INFO') == 0
    assert 'Resume from the last whole checkpoint, ' + str(tmp_path / 'out' / 'work' / 'step_2.pth') in ''.join(
        capfd.readouterr()
    )


def test_weights_of_a_part_of_the_backbone_are_no_start(tmp_path, capfd):
    weights = parameters_of_learner(tmp_path)
    name = next(key for key in weights if key.startswith('backbone.'))
    torch.save(dict(state_dict={name: weights[name]}), tmp_path / 'part.pth')
    assert run(tmp_path, 'work', load_from=str(tmp_path / 'part.pth')) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert 'part.pth lacks' in line
    assert 'backbone.branches' in line


def parameters_of_learner(folder):
    from safetensors.torch import load_file

    return load_file(save_safetensors(folder, dict(learner(), sources=image_sources())))


@pytest.mark.parametrize('config', ['photo/xlearner_seg_r18_expansion.py', 'photo/transfer/seg_clothing.py'])
def test_a_missing_set_of_photographs_is_named_with_the_command_that_makes_it(tmp_path, capfd, monkeypatch, config):
    monkeypatch.chdir(tmp_path)
    assert launch('train', str(CONFIGS.parent / config), str(tmp_path / 'work')) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert re.match(r"error: XL-Photo set '\w+': data/xl_photo/\w+/\w+ is missing; python tools/make_photos\.py", last)
