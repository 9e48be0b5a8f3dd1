"""A stock runner over tiny sources with real images, for hooks and loops."""

from itertools import count

import torch
from mmengine.runner import Runner

from xlearner_mm.registry import DATASETS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_sources


@DATASETS.register_module()
class TinyImageDataset(torch.utils.data.Dataset):
    """Random images with the labels of one of the tiny sources."""

    metainfo: dict = {}

    def __init__(self, source, length=8, seed=0):
        batch = tiny_batch(length, seed=seed)[source]
        self.items = [
            dict(inputs=image, data_samples=sample)
            for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
        ]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


_RUNS = count()


def image_sources():
    sources = tiny_sources()
    for name, source in sources.items():
        source['dataset'] = dict(type='TinyImageDataset', source=name)
    return sources


def tiny_runner(work_dir, hooks=(), model=None, max_iters=4, interval=2, runner=Runner, **kwargs):
    """A runner that trains the tiny sources for some steps and logs in every second one."""
    sources = image_sources()
    model = model or dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=sources)
    settings = dict(
        model=model,
        work_dir=str(work_dir),
        # Logs and scalars are kept by name and second: a name of its own has its own.
        experiment_name=f'tiny_{next(_RUNS)}',
        train_dataloader=dict(
            batch_size=8,
            num_workers=0,
            dataset=dict(type='MultiSourceDataset', sources=sources),
            sampler=dict(type='MultiSourceSampler'),
            collate_fn=dict(type='multi_source_collate'),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=100),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=interval, log_metric_by_epoch=False),
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=100),
        ),
        custom_hooks=list(hooks),
        log_processor=dict(by_epoch=False),
        log_level='WARNING',
        randomness=dict(seed=0),
    )
    return runner(**{**settings, **kwargs})


def logged(runner):
    """Return the logged scalars by name: one value per logged step."""
    scalars = runner.message_hub.log_scalars
    return {name.removeprefix('train/'): list(buffer.data[0]) for name, buffer in scalars.items()}
