from pathlib import Path

import pytest

from xlearner_mm.errors import ConfigError
from xlearner_mm.transfer.protocol import Protocol, transfer_sets
from xlearner_mm.transfer.suite import transfer_jobs


@pytest.fixture
def configs(tmp_path):
    for name in ('seg_voc', 'det_voc', 'cls_cars', 'depth_nyu'):
        (tmp_path / f'{name}.py').write_text('')
    return tmp_path


def test_sets_are_found_by_their_configs_in_the_order_of_the_tasks(configs):
    assert [(entry.name, entry.task) for entry in transfer_sets(configs)] == [
        ('cars', 'cls'),
        ('det_voc', 'det'),
        ('seg_voc', 'seg'),
        ('nyu', 'depth'),
    ]


def test_a_folder_without_any_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='no transfer config named <task>_<set>'):
        transfer_sets(tmp_path)


def test_jobs_start_from_the_backbone_they_wait_for(configs):
    jobs = transfer_jobs('xlearner', Path('b.pth'), transfer_sets(configs), Path('out'), ('xlearner/export',))
    assert jobs[0].name == 'xlearner/cls_cars/seed_0'
    assert all(' --checkpoint b.pth ' in ' '.join(job.command) for job in jobs)
    assert all(job.needs == ('xlearner/export',) for job in jobs)
    assert len({job.folder for job in jobs}) == 4


def test_without_a_backbone_they_start_at_random(configs):
    jobs = transfer_jobs('scratch', None, transfer_sets(configs), Path('out'))
    assert all('--random-start' in job.command for job in jobs)


def test_a_set_is_judged_as_its_config_says(configs):
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


def test_some_sets_alone_keep_their_order(configs):
    assert [entry.name for entry in transfer_sets(configs, ['nyu', 'cars'])] == ['cars', 'nyu']
    with pytest.raises(ConfigError, match=r"has no set \['dogs'\]"):
        transfer_sets(configs, ['dogs'])


def test_a_protocol_gives_every_seed_a_job_and_a_folder_of_its_own(configs):
    sets = transfer_sets(configs, ['cars'])
    protocol = Protocol(frozen=True, data_fraction=0.1, seeds=2)
    jobs = transfer_jobs('mine', Path('b.pth'), sets, Path('out'), protocol=protocol, branch='det')
    assert [str(job.folder) for job in jobs] == ['out/mine/cls_cars/seed_0', 'out/mine/cls_cars/seed_1']
    line = ' '.join(jobs[1].command)
    for part in (
        '--checkpoint b.pth',
        '--branch det',
        '--seed 1',
        '--data-fraction 0.1',
        '--frozen',
        '--set-name cars',
    ):
        assert part in line
    assert Path('b.pth') in jobs[0].inputs
    assert '--random-start' in transfer_jobs('mine', None, sets, Path('out'), protocol=protocol)[0].command
