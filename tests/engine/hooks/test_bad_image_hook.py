"""Images that are left out are counted, logged, listed and limited, over interruptions too."""

import pytest
from mmengine.runner import Runner

from xlearner_mm.datasets.multi_source_dataset import REPLACED
from xlearner_mm.datasets.stream_index import stream_order
from xlearner_mm.engine import XLearnerRunner
from xlearner_mm.engine.hooks.bad_image_hook import BadImageHook
from xlearner_mm.errors import SourceError
from xlearner_mm.testing import tiny_classifier, tiny_expanded

from ...datasets.small_sources import COUNT, class_list
from ..ranks import run_ranks
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
    settings = dict(model=model, train_dataloader=loader, runner=XLearnerRunner, interval=1)
    settings = {**settings, 'experiment_name': tmp_path.name, **kwargs}  # a name of its own has scalars of its own
    hooks = dict(
        logger=dict(type='LoggerHook', interval=1),
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3, save_last=False),
    )
    return tiny_runner(tmp_path / 'work', default_hooks=hooks, **settings)


def test_bad_images_are_counted_listed_and_restored_on_resume(tmp_path, source):
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


def test_bad_images_of_several_workers_are_summed(tmp_path, source):
    training = runner(tmp_path, source, max_iters=1)
    hook = BadImageHook()
    hook.before_train(training)
    samples = [training.train_dataloader.dataset[i]['data']['data_samples'] for i in range(3)]
    for i, sample in enumerate(samples):
        sample.set_metainfo({REPLACED: [[f'{i}.jpg', 'cannot be read']]})
    hook.after_train_iter(training, 0, {'pets': dict(data_samples=samples[:2])})
    with pytest.raises(SourceError, match=r"source 'pets': 3 of 6 images are bad.*the last is 2\.jpg"):
        hook.after_train_iter(training, 1, {'pets': dict(data_samples=samples[2:])})


TWO_RANKS = dict(
    launcher='pytorch',
    cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)),
    env_cfg=dict(dist_cfg=dict(backend='gloo')),
    # The ranks of this test end one by one, which a watch of ranks would not let them.
    runner=Runner,
    hooks=[dict(type='BadImageHook')],
)


def two_ranks(tmp_path, source):
    """Train one step on two ranks; return of each how many it counts, or what it says and when."""

    def work(rank):
        training = runner(tmp_path, source, max_iters=1, **TWO_RANKS)
        try:
            training.train()
        except SourceError as error:
            return str(error)
        return logged(training)['bad_images/pets']

    return run_ranks(work, tmp_path / 'ranks')


def spoil(tmp_path, places):
    """Spoil the pictures at places of the stream; a step of two ranks draws 0 and 1 on rank 0, 2 and 3 on rank 1."""
    order = stream_order(0, 'pets', 0, COUNT)
    bad = [tmp_path / 'data' / 'train' / f'{order[place]}.jpg' for place in places]
    for path in bad:
        path.write_bytes(b'no picture')
    return bad


def test_bad_images_of_one_rank_are_counted_by_both_and_listed(tmp_path, source):
    (bad,) = spoil(tmp_path, [2])
    assert two_ranks(tmp_path, source) == [[1], [1]]
    assert (tmp_path / 'work' / 'bad_images.txt').read_text().startswith(f'pets\t{bad}\tcannot be read: ')


def test_bad_images_of_two_ranks_beyond_the_share_end_both(tmp_path, source):
    spoil(tmp_path, [0, 2])
    source['bad_data']['max_share'] = 0.2
    said = two_ranks(tmp_path, source)
    assert all("source 'pets': 2 of 6 images are bad, more than bad_data.max_share=0.2" in text for text in said), said
