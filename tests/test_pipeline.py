"""Sources -> expansion -> squeeze -> export -> transfer, in miniature, through the tools' own doors."""

import re
from pathlib import Path

import pytest
import torch

from xlearner_mm.engine.launch import launch
from xlearner_mm.mini import make_mini
from xlearner_mm.transfer import read_checkpoint
from xlearner_mm.transfer.export import export_backbone

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
    assert train('xlearner_r18_expansion', 'work_dirs/expansion', *SOURCES_SHORT) == 0
    teacher = 'model.teacher.checkpoint=work_dirs/expansion'
    assert train('xlearner_r18_squeeze', 'work_dirs/squeeze', *SOURCES_SHORT, teacher) == 0

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
    config = str(CONFIGS / 'hard_sharing_r18.py')
    assert train('hard_sharing_r18', 'work_dirs/hard_sharing', *SOURCES_SHORT) == 0
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
            ['train_dataloader.dataset.sources.digits.dataset.data_root=data/nowhere'],
            "source 'digits': its dataset cannot be .*data/nowhere",
        ),
        (
            ["train_dataloader.sampler.batch_sizes={'coco': 4}"],
            "unknown source 'coco'; the sources are",
        ),
        (
            ['model.sources.digits.network.head.in_channels=64'],
            "source 'digits': head.in_channels is 64, but the branch of task 'cls' gives 128",
        ),
        (
            ['model.backbone.reconciliation.topology=lowest'],
            "reconciliation: unknown topology 'lowest', choose from",
        ),
        (
            ['model.backbone.type=XLearnerExpandedBakbone'],
            'XLearnerExpandedBakbone is not in the',
        ),
    ],
)
def test_bad_input_ends_before_training_with_one_line_that_names_the_source(inside, capfd, options, message):
    assert train('xlearner_r18_expansion', 'work_dirs/bad', *SOURCES_SHORT, *options) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('error: ')
    assert re.search(message, last)


def test_a_checkpoint_of_another_shape_ends_before_training(inside, capfd):
    torch.save({'state_dict': {'conv1.weight': torch.zeros(64, 3, 7, 7)}}, 'wide.pth')
    checkpoint = 'model.backbone.init_cfg.checkpoint=wide.pth'
    assert train('transfer/cls_letters', 'work_dirs/wide', *SHORT, checkpoint) == 1
    assert 'conv1.weight is (64, 3, 7, 7), expected (16, 3, 7, 7)' in capfd.readouterr().err
