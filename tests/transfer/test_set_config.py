"""The config of one transfer: the changes by the protocol, and shares of the images."""

import copy
from pathlib import Path

import numpy as np
import pytest

import xlearner_mm  # noqa: F401  (mmseg's configs are found by name)
from tests.fixtures.pictures import write_picture
from tests.fixtures.segmentation import write_voc2012
from tests.fixtures.transfer_sets import write_voc0712
from xlearner_mm.errors import ConfigError
from xlearner_mm.export.start import Start
from xlearner_mm.registry import DATASETS
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.set_config import Part, draw_fraction, is_frozen, leaf_datasets, set_config

CONFIGS = Path(__file__).parents[2] / 'configs' / 'transfer'
DETECTION, PROBE = CONFIGS / 'det' / 'det_voc0712.py', CONFIGS / 'cls' / 'cls_pets.py'
SEGMENTATION = CONFIGS / 'seg' / 'seg_voc12.py'
START = Start(
    checkpoint='b.pth',
    sha256='',
    prefix='',
    settings=dict(type='XLearnerResNet', depth=50, stem_channels=64, base_channels=64, style='pytorch'),
    channels=(256, 512, 1024, 2048),
    parameters=0,
)


@pytest.fixture
def made(tmp_path):
    """Returns what makes the config of a set."""
    return lambda config, start=START, frozen=None, **more: set_config(
        config, tmp_path, start, Protocol(frozen), **more
    )


def training_of(cfg):
    return cfg.model.backbone.frozen_stages, cfg.model.backbone.norm_eval


def test_a_fine_tuning_recipe_is_unchanged(made):
    """BN statistics of two images a GPU, as without `norm_eval`, would be another and a worse recipe."""
    assert training_of(made(DETECTION)) == training_of(made(DETECTION, frozen=False)) == (1, True)


def test_finetune_uses_the_fine_tuning_recipe_of_a_probe(made):
    probe, tuned = made(PROBE), made(PROBE, frozen=False)
    assert (training_of(probe), training_of(tuned)) == ((4, True), (-1, False))
    assert (probe.optim_wrapper.optimizer.lr, tuned.optim_wrapper.optimizer.lr) == (0.1, 0.01)
    assert tuned.optim_wrapper.optimizer.weight_decay > 0


@pytest.mark.parametrize('config', [DETECTION, PROBE])
def test_every_backbone_can_be_frozen(made, config):
    cfg = made(config, frozen=True)
    assert is_frozen(cfg)
    assert cfg.model.backbone.norm_eval


def test_fine_tuning_from_a_random_start_trains_everything(made):
    cfg = made(DETECTION, start=None)
    assert training_of(cfg) == (-1, False)
    assert cfg.model.backbone.init_cfg is None
    assert is_frozen(made(PROBE, start=None)), 'a probe of it says what the architecture alone gives'


def test_options_override_seed_and_config(made):
    cfg = made(PROBE, seed=5, options=['randomness.seed=7', 'lr=1'])
    assert (cfg.randomness.seed, cfg.lr) == (7, 1)
    assert made(PROBE, seed=5).randomness.seed == 5


def test_a_detection_metric_that_no_evaluator_returns_is_refused(made, tmp_path):
    config = tmp_path / 'det_birds.py'
    config.write_text(
        f"_base_ = '{DETECTION}'\ntest_evaluator = dict(_delete_=True, type='CocoMetric', ann_file='a.json')"
    )
    with pytest.raises(
        ConfigError,
        match=r"det_birds\.py: .*\['coco'\], does not return 'pascal_voc/AP50'; set primary_metric.*coco/bbox_mAP",
    ):
        made(config)
    told = config.read_text()
    config.write_text(told + "\nprimary_metric = 'coco/bbox_mAP'")
    assert made(config)
    config.write_text(told.replace('CocoMetric', 'CocoMetrc'))
    assert made(config), 'left to the build, which names the nearest type'


def test_a_missing_set_of_photographs_is_named_with_the_command_that_makes_it(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photographs = CONFIGS.parent / 'photo/transfer/cls_cifar10.py'
    with pytest.raises(ConfigError, match=r"'cifar10': data/xl_photo/transfer/cifar10 is missing; .*make_photos\.py"):
        made(photographs, None)
    places = [f'{part}_dataloader.dataset.data_root={tmp_path}' for part in ('train', 'val', 'test')]
    assert made(photographs, None, options=places), 'own photographs'


def test_a_data_fraction_keeps_the_number_of_steps(tmp_path, monkeypatch):
    """A recipe that counts epochs sees the drawn images as often as makes its epoch as long as it was."""
    monkeypatch.chdir(tmp_path)
    write_voc0712(tmp_path / 'data', 5)
    write_voc2012(tmp_path / 'data', 5)
    detection, segmentation = (
        set_config(config, tmp_path, START, Protocol(data_fraction=0.4)) for config in (DETECTION, SEGMENTATION)
    )
    assert detection.train_cfg.max_epochs == 4
    for leaf in leaf_datasets(detection.train_dataloader.dataset):
        assert (len(leaf.indices), len(set(leaf.indices))) == (5, 2)
    assert segmentation.train_cfg.max_iters == 20000
    for leaf in leaf_datasets(segmentation.train_dataloader.dataset):
        assert len(leaf.indices) == len(set(leaf.indices)) == 2


COUNTS = {'ant': 20, 'bee': 10, 'cat': 3}


@pytest.fixture(scope='module')
def classification(tmp_path_factory):
    root = tmp_path_factory.mktemp('classes')
    for name, count in COUNTS.items():
        for i in range(count):
            write_picture(root / name / f'{i}.jpg')
    return dict(type='CustomDataset', data_root=str(root), pipeline=[])


def drawn(dataset, fraction, seed=0, name='animals'):
    dataset = copy.deepcopy(dataset)
    return dataset, draw_fraction(dataset, f'{name}/{seed}', fraction, 'mmpretrain')


def test_every_class_keeps_its_share_and_at_least_one_image(classification):
    dataset, _ = drawn(classification, 0.1)
    labels = DATASETS.build({**dataset, '_scope_': 'mmpretrain'}).get_gt_labels()
    assert np.bincount(labels).tolist() == [2, 1, 1]


def test_the_draw_depends_on_seed_and_set_alone(classification):
    indices = [drawn(classification, 0.5, *key)[0]['indices'] for key in ((0, 'a'), (0, 'a'), (1, 'a'), (0, 'b'))]
    assert indices[0] == indices[1]
    assert len(set(map(tuple, indices))) == 3


def test_a_smaller_share_is_part_of_a_larger_one(classification):
    small, large = (set(drawn(classification, fraction)[0]['indices']) for fraction in (0.2, 0.5))
    assert small < large


def test_the_record_names_drawn_and_total_images(classification):
    dataset, parts = drawn(classification, 0.5)
    assert parts == [Part('CustomDataset', 33, dataset['indices'])]


def test_every_data_set_within_wrappers_is_reduced(tmp_path):
    write_voc0712(tmp_path, 10)
    part = dict(type='VOCDataset', data_root=f'{tmp_path}/VOCdevkit/', pipeline=[])
    parts = [
        dict(part, ann_file=f'VOC{year}/ImageSets/Main/trainval.txt', data_prefix=dict(sub_data_root=f'VOC{year}/'))
        for year in (2007, 2012)
    ]
    dataset = dict(type='RepeatDataset', times=3, dataset=dict(type='ConcatDataset', datasets=parts))
    parts = draw_fraction(dataset, 'voc/0', 0.3, 'mmdet')
    assert [len(leaf['indices']) for leaf in leaf_datasets(dataset)] == [3, 3]
    assert parts[0].indices != parts[1].indices


def test_a_config_with_its_own_fraction_is_refused(classification):
    with pytest.raises(ConfigError, match='CustomDataset.*indices already'):
        drawn({**classification, 'indices': 5}, 0.5)
