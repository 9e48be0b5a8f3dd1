"""Images that are left out are counted, logged, listed and limited, over interruptions too."""

import pytest

from xlearner_mm.datasets import SourceError
from xlearner_mm.datasets.multi_source_dataset import REPLACED
from xlearner_mm.engine import XLearnerRunner
from xlearner_mm.engine.hooks import BadImageHook
from xlearner_mm.testing import tiny_expanded
from xlearner_mm.testing.tiny_models import tiny_classifier

from ...datasets.small_sources import class_list
from ..tiny_runner import logged, tiny_runner


@pytest.fixture
def source(tmp_path):
    skip = dict(policy='skip', max_share=0.4)
    return {**class_list(tmp_path / 'data'), 'network': tiny_classifier(2), 'bad_data': skip}


def runner(tmp_path, source, **kwargs):
    sources = {'pets': source}
    loader = dict(
        batch_size=source['batch_size'],
        num_workers=0,
        dataset=dict(type='MultiSourceDataset', sources=sources),
        sampler=dict(type='MultiSourceSampler'),
        collate_fn=dict(type='multi_source_collate'),
    )
    model = dict(type='ExpansionLearner', backbone=tiny_expanded('cls'), sources=sources)
    settings = dict(model=model, train_dataloader=loader, runner=XLearnerRunner, interval=1, **kwargs)
    hooks = dict(
        logger=dict(type='LoggerHook', interval=1),
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3, save_last=False),
    )
    return tiny_runner(tmp_path / 'work', default_hooks=hooks, **settings)


def test_they_are_counted_listed_and_remembered(tmp_path, source):
    bad = tmp_path / 'data' / 'train' / '1.jpg'
    good = bad.read_bytes()
    bad.write_bytes(b'no picture')
    training = runner(tmp_path, source, max_iters=3)
    training.train()
    assert logged(training)['bad_images/pets'][-1] == 1
    listed = (tmp_path / 'work' / 'bad_images.txt').read_text()
    assert listed.startswith(f'pets\t{bad}\tcannot be read: ')
    assert len(listed.splitlines()) == 1
    bad.write_bytes(good)
    resumed = runner(tmp_path, source, max_iters=4, resume=True, experiment_name=f'{tmp_path.name}_resumed')
    resumed.train()
    assert logged(resumed)['bad_images/pets'][-1] == 1


def test_a_training_without_such_images_has_no_list(tmp_path, source):
    training = runner(tmp_path, source, max_iters=1)
    training.train()
    assert logged(training)['bad_images/pets'] == [0]
    assert not (tmp_path / 'work' / 'bad_images.txt').exists()


def test_what_workers_found_apart_counts_together(tmp_path, source):
    training = runner(tmp_path, source, max_iters=1)
    hook = BadImageHook()
    hook.before_train(training)
    samples = [training.train_dataloader.dataset[i]['data']['data_samples'] for i in range(3)]
    for i, sample in enumerate(samples):
        sample.set_metainfo({REPLACED: [[f'{i}.jpg', 'cannot be read']]})
    hook.after_train_iter(training, 0, {'pets': dict(data_samples=samples[:2])})
    with pytest.raises(SourceError, match=r"source 'pets': 3 of 6 images are bad.*the last is 2\.jpg"):
        hook.after_train_iter(training, 1, {'pets': dict(data_samples=samples[2:])})
