"""A malicious file is executed through no door of trainings, tests and tools; safetensors go through all of them."""

import os

import numpy as np
import pytest
import torch
from mmengine.config import Config

from tests.export.colors import config_text, write_colors
from xlearner_mm.checkpoint.reading import safetensors_bytes
from xlearner_mm.engine.launch import launch
from xlearner_mm.engine.recovery.step_record import read_step
from xlearner_mm.errors import CheckpointError
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_classifier, tiny_expanded, tiny_resnet
from xlearner_mm.transfer.probing.features import FeatureExtractor
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.transfer_set import transfer_to_set
from xlearner_mm.visualization.feature_map import draw_features
from xlearner_mm.visualization.link_map import read_links

from .tiny_runner import image_sources
from .tiny_squeeze import tiny_squeeze, validated_sources, write_teacher

PRUNING = [dict(type='StageMetaHook'), dict(type='PruningHook', interval=1, target_params=1.2e5, steps=1)]


def training(folder, model=None, dataset=None, sources=None, **settings):
    """Write the config of a training of one step, by default of the expansion stage, with a test; return its path."""
    loader = dict(num_workers=0, dataset=dataset or dict(type='MultiSourceDataset'))
    if dataset is None:
        loader.update(sampler=dict(type='MultiSourceSampler'), collate_fn=dict(type='multi_source_collate'))
    else:
        loader.update(sampler=dict(type='DefaultSampler'), batch_size=2)
    cfg = dict(
        default_scope='mmengine',
        sources=sources or validated_sources('birds'),
        model=model or learner(),
        train_dataloader=loader,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1, val_interval=100),
        test_cfg=dict(type='MultiSourceTestLoop'),
        test_dataloader=dict(),
        test_evaluator=dict(type='MultiSourceEvaluator'),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=100, save_last=False)),
        log_level='ERROR',
    )
    Config({**cfg, **settings}).dump(folder / 'training.py')
    return str(folder / 'training.py')


def learner():
    return dict(type='ExpansionLearner', backbone=tiny_expanded())


def with_init_cfg(path, part):
    """Sources of which one part of the network of one starts from a checkpoint."""
    sources = validated_sources('birds')
    sources['birds']['network'][part]['init_cfg'] = dict(type='Pretrained', checkpoint=path)
    return sources


def stock_classifier(path):
    model = tiny_classifier()
    backbone = dict(tiny_resnet(init_cfg=dict(type='Pretrained', checkpoint=path)), type='mmdet.ResNet')
    return dict(model, backbone=backbone)


def train(folder, **settings):
    return launch('train', training(folder, **settings), str(folder / 'work'))


def hinted(path):
    preprocessor = dict(image_sources()['birds']['network']['data_preprocessor'], _scope_='mmpretrain')
    return dict(learner(), hints=dict(birds=dict(model=tiny_resnet(), checkpoint=path, data_preprocessor=preprocessor)))


def started_student(folder, path):
    teacher = write_teacher(folder / 'teacher.pth')
    del teacher['model']['sources']
    return dict(tiny_squeeze(teacher), student=tiny_resnet(init_cfg=dict(type='Pretrained', checkpoint=path)))


def transfer(folder, path):
    (folder / 'cls_one.py').write_text(config_text(folder / 'one'))
    return transfer_to_set(folder / 'cls_one.py', folder / 'work', path, Protocol())


OF_A_LEARNER = {
    'load_from': lambda folder, path: train(folder, load_from=path),
    'load_from of a pruning': lambda folder, path: train(folder, load_from=path, custom_hooks=PRUNING),
    'test': lambda folder, path: launch('test', training(folder), str(folder / 'work'), checkpoint=path),
    'teacher': lambda folder, path: train(folder, model=tiny_squeeze(dict(model=learner(), checkpoint=path))),
}
OF_A_BACKBONE = {
    'hint': lambda folder, path: train(folder, model=hinted(path)),
    'student': lambda folder, path: train(folder, model=started_student(folder, path)),
    'suite': transfer,
}
OF_A_STOCK_MODULE = {
    'init_cfg of a head': lambda folder, path: train(folder, sources=with_init_cfg(path, 'head')),
    'init_cfg of a stock training': lambda folder, path: train(
        folder, model=stock_classifier(path), dataset=dict(type='TinyImageDataset', source='birds')
    ),
}
RESUME = {'resume': lambda folder, path: launch('train', training(folder), str(folder / 'work'), resume=path)}
LAUNCHED = {**OF_A_LEARNER, **OF_A_BACKBONE, **OF_A_STOCK_MODULE, **RESUME}
READ = {
    'links': lambda folder, path: read_links(path),
    'features': lambda folder, path: draw_features([path], folder / 'out.png', config=training(folder)),
    'replayed step': lambda folder, path: read_step(path),
}


@pytest.fixture
def evil(tmp_path):
    """Return an object that makes a folder when it is unpickled, and the folder."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    return Evil(), tmp_path / 'executed'


@pytest.fixture
def evil_file(tmp_path, evil):
    torch.save({'state_dict': {'conv1.weight': evil[0]}, 'meta': {}}, tmp_path / 'evil.pth')
    return str(tmp_path / 'evil.pth')


@pytest.mark.parametrize('door', LAUNCHED)
def test_a_malicious_checkpoint_ends_the_run_in_one_line(tmp_path, evil, evil_file, capfd, door):
    assert LAUNCHED[door](tmp_path, evil_file) == 1
    assert not evil[1].exists()
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert 'evil.pth is refused: reading it would execute code' in line


@pytest.mark.parametrize('door', READ)
def test_a_malicious_checkpoint_is_refused_by_visualization_and_replay(tmp_path, evil, evil_file, door):
    with pytest.raises(CheckpointError, match=r'evil\.pth is (refused|no saved step)'):
        READ[door](tmp_path, evil_file)
    assert not evil[1].exists()


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('runner_type', ['Runner', 'mmengine.FlexibleRunner', 'Unheard'])
def test_a_runner_that_would_execute_checkpoints_is_refused(tmp_path, evil, evil_file, capfd, runner_type, resume):
    assert train(tmp_path, runner_type=runner_type, load_from=evil_file, resume=resume) == 1
    assert not evil[1].exists()
    assert f"error: runner_type '{runner_type}' is no XLearnerRunner" in capfd.readouterr().err


def test_a_runner_type_of_ours_is_accepted(tmp_path):
    assert train(tmp_path, runner_type='XLearnerRunner') == 0


def test_the_malicious_fixture_executes(evil, evil_file):
    torch.load(evil_file, weights_only=False)
    assert evil[1].is_dir()


def test_malicious_features_in_a_cache_are_not_executed(tmp_path, evil):
    write_colors(tmp_path / 'one')
    (tmp_path / 'cls_one.py').write_text(config_text(tmp_path / 'one'))
    settings = Config.fromfile(str(tmp_path / 'cls_one.py'))
    extractor = FeatureExtractor(settings.model.to_dict(), 'weights', tmp_path / 'cache')
    dataset = settings.test_dataloader.dataset.to_dict()
    count = len(extractor.extract(dataset, 'test'))
    (kept,) = (tmp_path / 'cache').iterdir()
    np.savez(kept, values=np.array([evil[0]] * count), labels=np.zeros(count), images=np.zeros(count))
    with pytest.raises(ValueError, match='allow_pickle=False'):
        extractor.extract(dataset, 'test')
    assert not evil[1].exists()


def save_safetensors(folder, config):
    torch.manual_seed(1)
    module = MODELS.build(config)
    module.init_weights()
    path = folder / 'weights.safetensors'
    path.write_bytes(safetensors_bytes(module.state_dict(), {}))
    return str(path)


@pytest.mark.parametrize('door', OF_A_LEARNER)
def test_safetensors_of_a_learner_are_taken(tmp_path, door):
    assert OF_A_LEARNER[door](tmp_path, save_safetensors(tmp_path, dict(learner(), sources=image_sources()))) == 0


@pytest.mark.parametrize('door', OF_A_BACKBONE)
def test_safetensors_of_a_backbone_are_taken(tmp_path, door):
    write_colors(tmp_path / 'one')
    assert OF_A_BACKBONE[door](tmp_path, save_safetensors(tmp_path, tiny_resnet())) == 0


def test_safetensors_of_a_stock_training_are_taken(tmp_path):
    path = save_safetensors(tmp_path, tiny_resnet())
    assert OF_A_STOCK_MODULE['init_cfg of a stock training'](tmp_path, path) == 0


def test_safetensors_hold_no_training_to_resume(tmp_path, capfd):
    assert RESUME['resume'](tmp_path, save_safetensors(tmp_path, dict(learner(), sources=image_sources()))) == 1
    assert 'weights.safetensors holds weights alone, no training that could be resumed' in capfd.readouterr().err
