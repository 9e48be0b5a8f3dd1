"""A training on one stock data set takes no other image in silence, as little as one on sources."""

import pytest

from tests.datasets.small_sources import class_folders
from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.errors import BadImageError


def loader_of(source, workers, **settings):
    loader = dict(
        batch_size=1,
        num_workers=workers,
        dataset={**source['dataset'], **settings},
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    return XLearnerRunner.build_dataloader(loader, seed=0)


@pytest.mark.parametrize('workers', [0, 1])
def test_an_image_that_its_loader_drops_is_an_error_that_names_it(tmp_path, workers):
    source = class_folders(tmp_path)
    source['dataset']['pipeline'][0]['ignore_empty'] = True
    (tmp_path / 'train' / 'cat' / '0.jpg').write_bytes(b'')
    with pytest.raises(BadImageError, match=r"source 'CustomDataset': .*cat/0\.jpg .*loader.* None"):
        next(iter(loader_of(source, workers)))


def test_faults_are_found_within_wrappers(tmp_path):
    source = class_folders(tmp_path)
    (tmp_path / 'train' / 'cat' / '0.jpg').write_bytes(b'')
    inner = {key: value for key, value in source['dataset'].items() if key != '_scope_'}
    source['dataset'] = dict(_scope_='mmpretrain', type='RepeatDataset', times=2, dataset=inner)
    with pytest.raises(BadImageError, match=r"source 'CustomDataset': .*cat/0\.jpg .*read"):
        loader_of(source, 0).dataset[0]


def test_sound_images_are_read_as_before(tmp_path):
    paths = [batch['data_samples'][0].img_path for batch in loader_of(class_folders(tmp_path), 0)]
    assert len(set(paths)) == 6
