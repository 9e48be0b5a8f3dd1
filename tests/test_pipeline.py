"""Sources -> expansion -> squeeze -> export -> transfer, in miniature, through the tools' own doors."""

import os
import re
from pathlib import Path

import pytest
import torch

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.engine.launch import launch
from xlearner_mm.export import export_backbone
from xlearner_mm.mini import make_mini

CONFIGS = Path(__file__).parents[1] / 'configs' / 'mini'
SHORT = ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.num_workers=0']
SOURCES_SHORT = [*SHORT, 'train_dataloader.persistent_workers=False']


@pytest.fixture(scope='module')
def workshop(tmp_path_factory):
    root = tmp_path_factory.mktemp('workshop')
    make_mini(root / 'data' / 'xl_mini', scale=0.02, report=lambda line: None)
    return root


@pytest.fixture
def inside(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    return workshop


def train(config, work_dir, *options, **kwargs):
    return launch('train', str(CONFIGS / f'{config}.py'), work_dir=work_dir, options=options, **kwargs)


def test_from_sources_to_transfer(inside):
    assert train('xlearner_seg_r18_expansion', 'work_dirs/expansion', *SOURCES_SHORT) == 0
    assert list((inside / 'work_dirs/expansion').glob('best_sources_mean_*.pth')), 'saved by the aggregate'
    teacher = 'model.teacher.checkpoint=work_dirs/expansion'
    assert train('xlearner_seg_r18_squeeze', 'work_dirs/squeeze', *SOURCES_SHORT, teacher) == 0

    meta = export_backbone('work_dirs/squeeze', 'work_dirs/backbone.pth')
    assert meta['stage'] == 'squeeze'
    student = read_checkpoint('work_dirs/squeeze')['state_dict']['student.layer4.1.conv2.weight']

    for config in ('cls_letters', 'det_voc_mini', 'seg_voc_mini', 'depth_nyu_mini'):
        checkpoint = 'model.backbone.init_cfg.checkpoint=work_dirs/backbone.pth'
        work_dir = f'work_dirs/{config}'
        assert train(f'transfer/{config}', work_dir, *SHORT, checkpoint) == 0
        transferred = read_checkpoint(work_dir)['state_dict']['backbone.layer4.1.conv2.weight']
        assert torch.equal(transferred, student), 'a frozen backbone is the exported one'


def test_a_stage_is_tested_source_by_source(inside, capfd):
    config = str(CONFIGS / 'hard_sharing_seg_r18.py')
    assert train('hard_sharing_seg_r18', 'work_dirs/hard_sharing', *SOURCES_SHORT) == 0
    capfd.readouterr()
    assert launch('test', config, work_dir='work_dirs/test', checkpoint='work_dirs/hard_sharing') == 0
    printed = ''.join(capfd.readouterr())
    # A detector that detects nothing yet has no metric in the stock library.
    for metric in ('digits/accuracy/top1', 'shapes/accuracy/top1', 'seg_things/mIoU', 'sources/mean'):
        assert metric in printed


def test_a_training_stopped_before_its_last_validation_gets_it_when_resumed(inside, capfd):
    options = [*SHORT, 'model.backbone.init_cfg=None']
    assert train('transfer/cls_letters', 'work_dirs/resumed', *options) == 0
    capfd.readouterr()
    assert train('transfer/cls_letters', 'work_dirs/resumed', *options, resume='auto') == 0
    assert 'accuracy/top1' in ''.join(capfd.readouterr())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ['sources.digits.dataset.data_root=data/nowhere'],
            "source 'digits': its dataset cannot be .*data/nowhere",
        ),
        (['sources.coco.batch_size=4'], "unknown source 'coco'; the sources are"),
        (
            ['sources.digits.network.head.in_channels=64'],
            "source 'digits': head.in_channels is 64, but the branch of task 'cls' gives 128",
        ),
        (
            ['model.backbone.reconciliation.topology=lowest'],
            "reconciliation: unknown topology 'lowest', choose from",
        ),
        (['train_dataloader.batch_size=7'], 'train_dataloader.batch_size is 7, but the sources take 120 images a step'),
        (
            ['train_dataloader.batch_size=120', 'sources.digits.batch_size=3'],
            'train_dataloader.batch_size is 120, but the sources take 99 images a step',
        ),
        (['foo'], "--cfg-options: 'foo' must be KEY=VALUE"),
        (['optim_wrapper.optimizer.type=Nope'], 'optim_wrapper cannot be built: .*Nope'),
        (
            ['model.backbone.type=XLearnerExpandedBakbone'],
            "no model 'XLearnerExpandedBakbone'",
        ),
    ],
)
def test_bad_input_ends_before_training_with_one_line_that_names_the_source(inside, capfd, options, message):
    assert train('xlearner_seg_r18_expansion', 'work_dirs/bad', *SOURCES_SHORT, *options) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('error: ')
    assert re.search(message, last)


def test_a_missing_folder_of_a_stock_transfer_is_named_with_its_setting(inside, capfd):
    options = [*SHORT, 'model.backbone.init_cfg=None', 'train_dataloader.dataset.data_root=data/nowhere']
    assert train('transfer/seg_voc_mini', 'work_dirs/bad', *options) == 1
    assert re.search(r"error: train_dataloader cannot be built: .*data_root 'data/nowhere'", capfd.readouterr().err)


def test_an_unreadable_image_is_one_line_with_and_without_workers(inside, capfd):
    broken = next((inside / 'data/xl_mini/shapes/train').glob('*/*.jpg'))
    whole = broken.read_bytes()
    broken.write_bytes(b'no picture')
    try:
        options = ['train_cfg.max_iters=40', 'train_cfg.val_interval=40', 'train_dataloader.num_workers=1']
        assert train('hard_sharing_seg_r18', 'work_dirs/broken', *options) == 1
    finally:
        broken.write_bytes(whole)
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(rf"error: source 'shapes': .*{broken.name} cannot be read: .*", last)


def test_a_test_uses_the_given_checkpoint_only(inside, monkeypatch):
    options = [*SHORT, 'model.backbone.init_cfg=None']
    for work_dir, seed in (('work_dirs/one', 1), ('work_dirs/two', 2)):
        assert train('transfer/cls_letters', work_dir, *options, f'randomness.seed={seed}') == 0
    tested = []
    monkeypatch.setattr(
        'mmengine.runner.Runner.call_hook',
        lambda self, name, **_: tested.append(self.model.state_dict()) if name == 'before_test' else None,
    )
    config, other = str(CONFIGS / 'transfer/cls_letters.py'), 'load_from=work_dirs/two/iter_2.pth'
    assert launch('test', config, 'work_dirs/test', [*options, other], checkpoint='work_dirs/one') == 0
    wanted = read_checkpoint('work_dirs/one')['state_dict']['head.fc.weight']
    assert torch.equal(tested[0]['head.fc.weight'], wanted)


@pytest.mark.parametrize('door', [{'resume': 'evil.pth'}, {'options': ['load_from=evil.pth']}], ids=str)
def test_no_training_executes_a_checkpoint(inside, capfd, door):
    class Evil:
        def __reduce__(self):
            return os.mkdir, ('executed',)

    torch.save({'state_dict': {}, 'meta': Evil()}, 'evil.pth')
    options = [*SHORT, 'model.backbone.init_cfg=None', *door.get('options', [])]
    assert train('transfer/cls_letters', 'work_dirs/evil', *options, resume=door.get('resume')) == 1
    assert 'evil.pth is refused' in capfd.readouterr().err
    assert not Path('executed').exists()


def test_resuming_another_models_checkpoint_is_refused(inside, capfd):
    options = [*SHORT, 'model.backbone.init_cfg=None']
    assert train('transfer/cls_letters', 'work_dirs/letters', *options) == 0
    assert train('transfer/cls_symbols', 'work_dirs/symbols', *options, resume='work_dirs/letters') == 1
    assert 'head.fc.weight is (20, 128), expected (12, 128)' in capfd.readouterr().err


def test_a_checkpoint_of_another_shape_is_refused_before_training(inside, capfd):
    torch.save({'state_dict': {'conv1.weight': torch.zeros(64, 3, 7, 7)}}, 'wide.pth')
    checkpoint = 'model.backbone.init_cfg.checkpoint=wide.pth'
    assert train('transfer/cls_letters', 'work_dirs/wide', *SHORT, checkpoint) == 1
    assert 'conv1.weight is (64, 3, 7, 7), expected (16, 3, 7, 7)' in capfd.readouterr().err
