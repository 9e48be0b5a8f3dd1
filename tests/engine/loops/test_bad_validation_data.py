"""A validation leaves no image out, and names the one that it cannot use."""

from types import SimpleNamespace

import pytest
from mmengine.runner import Runner

from xlearner_mm.engine import MultiSourceValLoop
from xlearner_mm.errors import BadImageError, SourceError

from ...datasets.small_sources import class_list, coco, voc, write_coco


def loader_of(source, **settings):
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=source['dataset'],
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
    )
    skip = dict(policy='skip', max_share=0.9)
    source = dict(
        source, val_dataloader=loader, val_evaluator=dict(type='mmpretrain.Accuracy'), bad_data=skip, **settings
    )
    sources = {'pets': source}
    runner = SimpleNamespace(build_dataloader=Runner.build_dataloader, seed=0)
    evaluator = dict(type='MultiSourceEvaluator', sources=sources)
    return MultiSourceValLoop(runner, dict(sources=sources), evaluator).dataloaders['pets']


def test_an_image_that_cannot_be_read_ends_it_also_where_training_would_skip(tmp_path):
    source = class_list(tmp_path)
    (tmp_path / 'train' / '1.jpg').write_bytes(b'no picture')
    with pytest.raises(BadImageError, match=r"source 'pets': .*1\.jpg cannot be read"):
        list(loader_of(source))


def test_a_label_outside_of_the_classes_ends_it(tmp_path):
    source = class_list(tmp_path)
    (tmp_path / 'train.txt').write_text('0.jpg 2\n')
    with pytest.raises(BadImageError, match=r"source 'pets': .*0\.jpg has label 2"):
        list(loader_of(source))


def test_a_broken_xml_file_is_named(tmp_path):
    source = voc(tmp_path)
    (tmp_path / 'Annotations' / '3.xml').write_text('')
    with pytest.raises(BadImageError, match=r"source 'pets': .*3\.xml has annotations that cannot be read"):
        loader_of(source)


def test_paths_out_of_the_folders_are_refused_here_too(tmp_path):
    source = class_list(tmp_path)
    (tmp_path / 'train.txt').write_text('../../outside.jpg 0\n')
    with pytest.raises(SourceError, match=r'the annotations name img_path'):
        list(loader_of(source, strict_paths=True))


def test_an_object_that_cannot_be_one_costs_no_image_where_training_would_skip(tmp_path):
    source = coco(tmp_path)
    write_coco(tmp_path, lambda content: content['annotations'][0].update(bbox=[20, 12, 0, 36]))
    dataset = loader_of(source).dataset
    assert [len(dataset.get_data_info(i)['instances']) for i in range(len(dataset))] == [0, 1, 1, 1, 1, 1]
