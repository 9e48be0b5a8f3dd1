from types import SimpleNamespace

import pytest

from tests.fixtures import write_fixtures
from xlearner_mm.analysis.dry_run.source_data import read_source, stand_in_items
from xlearner_mm.datasets.stock_datasets import build_deferred
from xlearner_mm.errors import SourceError
from xlearner_mm.sources import parse_sources

COCO = dict(
    _scope_='mmdet',
    type='CocoDataset',
    data_root='data/coco/',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(133, 80), keep_ratio=True),
        dict(type='PackDetInputs'),
    ],
)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def read(settings, declared=None):
    return read_source('coco', build_deferred(settings), settings, 2, declared or {})


def test_existing_files_override_declarations(tmp_path):
    write_fixtures(tmp_path / 'data', ['coco'], images=3)
    data = read(COCO, {'images': 118287})
    assert (data.images, data.origin) == (3, 'its files')
    assert len(data.items(str(tmp_path))) == 2


def test_without_files_the_declared_number_is_used(tmp_path):
    assert (read(COCO, {'images': 7}).images, read(COCO, {'images': 7}).origin) == (7, 'declared')
    assert (read(COCO).images, read(COCO).origin) == (None, 'unknown')


def test_a_share_of_a_source_is_counted_with_and_without_files(tmp_path):
    def images():
        settings = dict(task='det', dataset=COCO, batch_size=2, declared=dict(images=30), data_fraction=0.5)
        (source,) = parse_sources({'coco': settings}).values()
        data = read_source('coco', build_deferred(COCO), COCO, 2, source.declared, source)
        return data.images, data.origin

    assert images() == (15, 'declared')
    write_fixtures(tmp_path / 'data', ['coco'], images=4)
    assert images() == (2, 'its files')


def test_random_images_use_the_sources_pipeline_and_alternate_formats(tmp_path):
    flat, upright = read(COCO).items(str(tmp_path))
    assert flat['inputs'].shape == (3, 80, 107)
    assert upright['inputs'].shape == (3, 107, 80)
    boxes = flat['data_samples'].gt_instances.bboxes.tensor
    assert len(boxes) == 8
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 107


def test_a_pipeline_that_needs_more_than_an_image_is_refused(tmp_path):
    broken = {**COCO, 'pipeline': [*COCO['pipeline'][:2], dict(type='LoadProposals')]}
    with pytest.raises(SourceError, match='pipeline.*640 x 480.*KeyError'):
        read(broken).items(str(tmp_path))


def test_a_dataset_that_mixes_images_needs_its_data(tmp_path):
    mixing = SimpleNamespace(dataset=build_deferred(COCO), pipeline=['mosaic'])
    with pytest.raises(SourceError, match='mixes several pictures'):
        stand_in_items(mixing, str(tmp_path), (64, 64), 1)


def test_declarations_of_a_source_are_checked():
    settings = dict(task='det', dataset=COCO, batch_size=2, declared=dict(image=3))
    with pytest.raises(SourceError, match="source 'coco': declared: unknown setting 'image'; did you mean 'images'"):
        parse_sources(dict(coco=settings))
