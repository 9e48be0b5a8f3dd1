"""Bad images are replaced by a fixed rule, counted, and limited to a share."""

from itertools import islice

import pytest
from torch.utils.data import DataLoader

from tests.datasets.small_sources import COUNT, class_list
from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler, multi_source_collate
from xlearner_mm.datasets.multi_source_dataset import REPLACED
from xlearner_mm.errors import BadImageError, SourceError

SKIP = dict(policy='skip', max_share=0.4)


@pytest.fixture
def source(tmp_path):
    return {**class_list(tmp_path), 'bad_data': SKIP}


def spoil(folder, *numbers):
    for number in numbers:
        (folder / 'train' / f'{number}.jpg').write_bytes(b'no picture')


def number(sample):
    return int(sample.img_path.rsplit('/', 1)[1].removesuffix('.jpg'))


def replaced(sample):
    return [int(path.rsplit('/', 1)[1].removesuffix('.jpg')) for path, _ in sample.metainfo.get(REPLACED, ())]


def samples(source, steps, skip=0, workers=0):
    """Return (image, images that it replaces) of every sample of some steps."""
    dataset = MultiSourceDataset({'pets': source})
    sampler = MultiSourceSampler(dataset, seed=0)
    sampler.skip(skip * sampler.batch_size)
    loader = DataLoader(
        dataset,
        batch_size=sampler.batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=multi_source_collate,
    )
    batches = islice(loader, steps)
    return [(number(sample), replaced(sample)) for batch in batches for sample in batch['pets']['data_samples']]


def test_a_bad_image_is_replaced_by_the_next_in_the_sources_order(tmp_path, source):
    order = [image for image, _ in samples(source, 6)]
    spoil(tmp_path, order[0], order[1])
    bad = set(order[:2])
    found = samples(source, 6)
    for position, (image, instead_of) in enumerate(found[: COUNT - 2]):
        following = order[position:]
        assert image == next(other for other in following if other not in bad)
        assert instead_of == following[: following.index(image)]
    assert found[0] == (order[2], order[:2])


@pytest.mark.parametrize('workers', [0, 2])
def test_replacements_are_the_same_after_an_interruption_and_with_workers(tmp_path, source, workers):
    spoil(tmp_path, 1, 4)
    straight = samples(source, 9)
    assert {1, 4} <= {bad for _, instead_of in straight for bad in instead_of}
    assert samples(source, 5, skip=4, workers=workers) == straight[8:]


def test_without_a_stream_the_next_in_the_list_replaces_a_bad_image(tmp_path, source):
    spoil(tmp_path, 5, 0)
    dataset = MultiSourceDataset({'pets': source})
    assert number(dataset[5]['data']['data_samples']) == 1
    assert [path.rsplit('/', 1)[1] for path in dataset.bad_images['pets']] == ['5.jpg', '0.jpg']
    assert REPLACED not in dataset[2]['data']['data_samples'].metainfo


def test_more_bad_images_than_the_share_are_an_error_that_names_the_last(tmp_path, source):
    spoil(tmp_path, 0, 1, 2)
    dataset = MultiSourceDataset({'pets': source})
    message = (
        r"source 'pets': 3 of 6 images are bad, more than bad_data\.max_share=0\.4; the last is .*2\.jpg: it cannot"
    )
    with pytest.raises(SourceError, match=message):
        dataset[0]


def test_by_default_the_first_bad_image_is_an_error(tmp_path, source):
    spoil(tmp_path, 0)
    del source['bad_data']
    with pytest.raises(BadImageError, match=r"source 'pets': .*0\.jpg .*; replace the file"):
        MultiSourceDataset({'pets': source})[0]


def test_an_error_of_a_worker_names_the_image(tmp_path, source):
    spoil(tmp_path, *range(COUNT))
    with pytest.raises(SourceError, match=r"source 'pets': 3 of 6 images are bad"):
        samples(source, 1, workers=1)


def test_skip_does_not_hide_faults_of_the_pipeline(source):
    source['dataset']['pipeline'].insert(1, dict(type='Resize', scale='large'))
    with pytest.raises(SourceError, match=r"'pets': (.*dataset.*built|.*Resize .*correct the settings)"):
        MultiSourceDataset({'pets': source})[0]


def test_skip_needs_samples_that_record_replacements(tmp_path, source):
    spoil(tmp_path, 0)
    source['dataset']['pipeline'].pop()
    dataset = MultiSourceDataset({'pets': source})
    assert dataset[1]['data']['img_path'].endswith('1.jpg')
    with pytest.raises(SourceError, match=r"source 'pets': bad_data\.policy='skip' needs .* Pack .*0\.jpg .*read"):
        dataset[0]
