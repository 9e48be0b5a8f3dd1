import pytest

from xlearner_mm.errors import ConfigError
from xlearner_mm.report.rows import RowProtocol
from xlearner_mm.transfer.protocol import SUITES, Protocol, other_configs, suite_of, transfer_sets


@pytest.mark.parametrize(
    ('settings', 'suffix'),
    [
        ({}, ''),
        ({'seeds': 3}, ''),
        ({'data_fraction': 0.1}, '-10pct'),
        ({'frozen': True, 'probe': 'knn'}, '-frozen-knn'),
        ({'frozen': False, 'data_fraction': 0.025}, '-finetune-2.5pct'),
    ],
)
def test_work_directories_differ_by_protocol_but_not_by_seeds(settings, suffix):
    assert Protocol(**settings).suffix == suffix


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'probe': 'svm'}, "unknown probe 'svm', choose from"),
        ({'data_fraction': 0}, 'above 0 and at most 1, got 0'),
        ({'data_fraction': 10}, 'above 0 and at most 1, got 10'),
        ({'seeds': 0}, 'seeds must be at least 1'),
        ({'frozen': False, 'probe': 'knn'}, 'probe knn needs a frozen backbone.*--finetune'),
        ({'frozen': False, 'probe': 'sgd'}, 'probe sgd needs a frozen backbone.*--finetune'),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Protocol(**settings)


def test_overrides_of_the_configs_are_another_protocol():
    longer, shorter = (Protocol(options=(f'train_cfg.max_iters={steps}',)) for steps in (2, 1))
    assert len({Protocol().suffix, longer.suffix, shorter.suffix}) == 3
    assert longer.of_row(1).options == 'train_cfg.max_iters=2'


def test_frozen_and_probe_are_reported_only_if_they_hold_for_all_sets():
    assert Protocol().of_row(1) == RowProtocol(1.0, 1, probe='lbfgs')
    assert Protocol(frozen=False, seeds=2).of_row('1-2') == RowProtocol(1.0, '1-2', frozen=False)


def test_a_suite_is_one_of_ours_or_a_folder(tmp_path):
    assert suite_of('photo') is SUITES['photo']
    assert suite_of(str(tmp_path)).folder == tmp_path


def test_neither_suite_nor_folder_is_refused_with_the_known_suites():
    with pytest.raises(ConfigError, match=r"'papers'.*paper.*mini.*photo.*folder"):
        suite_of('papers')


def test_sets_are_found_by_their_configs_in_the_order_of_the_tasks(configs):
    assert [(entry.name, entry.task) for entry in transfer_sets(configs)] == [
        ('cars', 'cls'),
        ('det_voc', 'det'),
        ('seg_voc', 'seg'),
        ('nyu', 'depth'),
    ]


def test_a_folder_without_checkpoints_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='no transfer config.* <task>_<set>'):
        transfer_sets(tmp_path)


def test_the_metric_of_a_set_is_that_of_its_config(configs):
    (configs / 'cls_cars.py').write_text("primary_metric = 'single-label/recall'")
    (configs / 'det').mkdir()
    (configs / 'det' / 'det_coco.py').write_text("primary_metric = 'coco/bbox_mAP'\nextra = True")
    judged = {entry.name: (entry.metric.label, entry.extra) for entry in transfer_sets(configs)}
    assert judged == {
        'cars': ('mean per class', False),
        'coco': ('AP', True),
        'det_voc': ('AP50', False),
        'seg_voc': ('mIoU', False),
        'nyu': ('delta1', False),
    }


def test_an_unknown_metric_is_named_with_its_config(configs):
    (configs / 'cls_cars.py').write_text("primary_metric = 'accuracy'")
    with pytest.raises(ConfigError, match=r"cls_cars\.py: unknown primary_metric 'accuracy', choose from"):
        transfer_sets(configs)


def test_a_metric_may_be_that_of_a_base(configs):
    (configs / 'det_coco.py').write_text("primary_metric = 'coco/bbox_mAP'\nextra = True")
    (configs / 'det_short.py').write_text("_base_ = './det_coco.py'\nextra = False")
    (short,) = transfer_sets(configs, ['short'])
    assert (short.metric.key, short.extra) == ('coco/bbox_mAP', False)


def test_metrics_of_another_scale_than_their_column_are_not_in_its_mean(configs):
    for name, key in (('coco', 'coco/bbox_mAP'), ('coco50', 'coco/bbox_mAP_50')):
        (configs / f'det_{name}.py').write_text(f"primary_metric = '{key}'")
    found = {entry.name: (entry.metric.label, entry.extra) for entry in transfer_sets(configs)}
    assert (found['coco'], found['coco50']) == (('AP', True), ('AP50', False))


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('cls_a.py', b'x = (1,\n', r"cls_a\.py:1: '\(' was never closed"),
        ('cls_a.py', b'# f\xfcr\n', r'cls_a\.py: byte 3 is not UTF-8; save the file in UTF-8'),
        (
            'cls_a.py',
            b"_base_ = './gone.py'",
            r"cls_a\.py: its _base_ '\./gone\.py' is missing, there is no .*gone\.py",
        ),
        ('cls/cls_cars.py', b'', r'cls/cls_cars\.py and .*cls_cars\.py would share one folder of results: rename'),
    ],
)
def test_a_config_that_cannot_be_read_is_named(configs, name, content, message):
    (configs / name).parent.mkdir(exist_ok=True)
    (configs / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        transfer_sets(configs)


def test_files_that_are_no_transfer_sets_are_found(configs):
    for name in ('class_birds.py', 'birds/cls_birds.py', 'common.py', 'det/det_birds.py'):
        (configs / name).parent.mkdir(exist_ok=True)
        (configs / name).write_text('')
    (configs / 'cls_cars.py').write_text("_base_ = './common.py'")
    others = [str(other.relative_to(configs)) for other in other_configs(configs)]
    assert others == ['birds/cls_birds.py', 'class_birds.py']


def test_some_sets_alone_keep_their_order(configs):
    assert [entry.name for entry in transfer_sets(configs, ['nyu', 'cars'])] == ['cars', 'nyu']
    with pytest.raises(ConfigError, match=r"has no set \['dogs'\]"):
        transfer_sets(configs, ['dogs'])
