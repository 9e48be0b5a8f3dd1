from pathlib import Path

import pytest

from xlearner_mm.transfer.suite import transfer_jobs, transfer_sets


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
    with pytest.raises(FileNotFoundError, match='holds no transfer config named <task>_<set>'):
        transfer_sets(tmp_path)


def test_jobs_start_from_the_backbone_they_wait_for(configs):
    jobs = transfer_jobs('xlearner', Path('b.pth'), transfer_sets(configs), Path('out'), ('xlearner/export',))
    assert jobs[0].name == 'xlearner/cls_cars'
    assert all('model.backbone.init_cfg.checkpoint=b.pth' in job.command for job in jobs)
    assert all(job.needs == ('xlearner/export',) for job in jobs)
    assert len({job.folder for job in jobs}) == 4


def test_without_a_backbone_they_start_at_random(configs):
    jobs = transfer_jobs('scratch', None, transfer_sets(configs), Path('out'))
    assert all('model.backbone.init_cfg=None' in job.command for job in jobs)
