"""Errors of a validation end the run before its first step."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import ReduceOnPlateauLR
from mmengine.runner import Runner
from torch import nn

from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.engine.hooks.fidelity_hook import FidelityHook
from xlearner_mm.engine.hooks.validation_hook import ValidationHook
from xlearner_mm.engine.loops import MultiSourceValLoop
from xlearner_mm.errors import ConfigError

from ...datasets.small_sources import class_folders, coco, label_maps, voc, write_coco
from ..toy_training import trained


class Guess(nn.Module):
    """Guesses the labels of any task, with a generator that a training uses too."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def val_step(self, batches):
        assert not self.training
        ((_, batch),) = batches.items()
        for sample in batch['data_samples']:
            torch.rand(1)
            self.seen.append(sample.img_path)
            if 'gt_sem_seg' in sample:
                sample.pred_sem_seg = sample.gt_sem_seg
            elif 'gt_instances' in sample:
                sample.pred_instances = sample.gt_instances[:0].clone()
                sample.pred_instances.scores = torch.zeros(0)
            else:
                sample.set_pred_score(torch.rand(2)).set_pred_label(0)
        return batch['data_samples']


def runner_of(source, evaluator, hooks=(), param_schedulers=None, **settings):
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=source['dataset'] | dict(test_mode=True) | settings.pop('dataset', {}),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
    )
    sources = {'pets': source | dict(val_dataloader=loader, val_evaluator=evaluator) | settings}
    runner = SimpleNamespace(
        build_dataloader=Runner.build_dataloader,
        seed=0,
        iter=0,
        hooks=hooks,
        param_schedulers=param_schedulers,
        logger=MMLogger.get_current_instance(),
    )
    runner.val_loop = runner._val_loop = MultiSourceValLoop(
        runner, dict(sources=sources), dict(type='MultiSourceEvaluator', sources=sources)
    )
    runner.train_dataloader = SimpleNamespace(dataset=MultiSourceDataset(sources))
    runner.model = Guess().train()
    return runner


def check(*args, **kwargs):
    runner = runner_of(*args, **kwargs)
    ValidationHook().before_train(runner)
    return runner


def refused(message, *args, **kwargs):
    with pytest.raises(ConfigError, match=message):
        check(*args, **kwargs)


def accuracy(**settings):
    return dict(_scope_='mmpretrain', type='Accuracy', **settings)


def coco_metric(root, **settings):
    return dict(_scope_='mmdet', type='CocoMetric', ann_file=str(root / 'train.json'), **settings)


def test_a_valid_validation_changes_no_model_metric_or_random_state(tmp_path, capsys):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    runner = runner_of(class_folders(tmp_path), accuracy(topk=(1,)), primary_metric='accuracy/top1')
    capsys.readouterr()  # libraries print when they are imported
    ValidationHook().before_train(runner)
    assert torch.equal(torch.rand(4), expected)
    assert runner.model.training
    assert [path.split('/')[-1] for path in runner.model.seen] == ['0.jpg', '5.jpg']
    (metric,) = runner._val_loop.evaluator.evaluators['pets'].metrics
    assert metric.results == []
    assert capsys.readouterr().out == ''


def test_exif_orientation_with_boxes_and_label_maps(tmp_path):
    check(coco(tmp_path / 'coco'), coco_metric(tmp_path / 'coco', classwise=True), primary_metric='coco/bbox_mAP')
    check(voc(tmp_path / 'voc'), dict(_scope_='mmdet', type='VOCMetric'))
    check(label_maps(tmp_path / 'seg'), dict(_scope_='mmseg', type='IoUMetric'), primary_metric='mIoU')


def test_more_ranks_asked_for_than_there_are_classes(tmp_path):
    message = "source 'pets': its validation would fail: .*Top-5 accuracy .* number of categories is 2"
    refused(message, class_folders(tmp_path), accuracy(topk=(1, 5)))


def test_an_unreported_primary_metric(tmp_path):
    source = class_folders(tmp_path)
    refused("primary_metric 'top1' is not among .*accuracy/top1", source, accuracy(), primary_metric='top1')


@pytest.mark.parametrize(
    ('hook', 'message'),
    [
        (
            SimpleNamespace(key_indicators=['pets/top1']),
            "save_best is 'pets/top1'.* validation.*: .*pets/acc",
        ),
        (SimpleNamespace(monitor='top1'), "monitor is 'top1'.* validation"),
        (SimpleNamespace(monitor='pets/fidelity'), "monitor is 'pets/fidelity'.* validation.*FidelityHook"),
        (SimpleNamespace(key_indicators=['sources/fidelity']), "save_best is 'sources/fidelity'.*FidelityHook"),
    ],
)
def test_selection_by_an_unreported_metric(tmp_path, hook, message):
    refused(message, class_folders(tmp_path), accuracy(topk=(1,)), [hook])


@pytest.mark.parametrize('parameter', [None, 'lr'])
def test_a_schedule_by_an_unreported_metric(tmp_path, parameter):
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    schedule = ReduceOnPlateauLR(torch.optim.SGD(parameters, lr=0.1), monitor='pets/top1')
    schedules = [schedule] if parameter is None else {parameter: [schedule]}
    message = "ReduceOnPlateauLR: monitor is 'pets/top1', which no validation returns: .*pets/accuracy/top1"
    refused(message, class_folders(tmp_path), accuracy(topk=(1,)), param_schedulers=schedules)
    schedule.monitor = 'pets/accuracy/top1'
    check(class_folders(tmp_path), accuracy(topk=(1,)), param_schedulers=schedules)


def test_metrics_to_select_by_that_are_given(tmp_path):
    hooks = [SimpleNamespace(key_indicators=['auto', 'sources/mean']), SimpleNamespace(monitor='pets/accuracy/top1')]
    hooks += [FidelityHook(), SimpleNamespace(key_indicators=['sources/fidelity'])]
    check(class_folders(tmp_path), accuracy(topk=(1,)), hooks, primary_metric='accuracy/top1')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(metric='segm'), 'segm is not in results'),
        (dict(proposal_nums=(100,)), 'IndexError'),
        (dict(metric_items=['mAP50']), 'mAP50'),
    ],
)
def test_settings_that_a_metric_looks_at_when_it_computes(tmp_path, settings, message):
    source = coco(tmp_path)
    if settings.get('metric') == 'segm':
        polygon = [[4, 6, 28, 6, 28, 26]]
        write_coco(tmp_path, lambda content: [o.update(segmentation=polygon) for o in content['annotations']])
        check(source, coco_metric(tmp_path, **settings))
    else:
        refused(f"source 'pets': its validation would fail: .*{message}", source, coco_metric(tmp_path, **settings))


def test_a_pipeline_without_metadata_that_the_metric_reads(tmp_path):
    pack = dict(type='PackDetInputs', meta_keys=('img_path', 'ori_shape', 'img_shape'))
    source = coco(tmp_path)
    pipeline = [*source['dataset']['pipeline'][:-1], pack]
    refused("would fail: KeyError: 'img_id'", source, coco_metric(tmp_path), dataset=dict(pipeline=pipeline))


def test_an_image_that_cannot_be_read(tmp_path):
    source = class_folders(tmp_path)
    (tmp_path / 'train' / 'cat' / '0.jpg').write_bytes(b'no picture')
    refused(r"source 'pets': .*0\.jpg cannot be read", source, accuracy(topk=(1,)))


def test_folders_of_other_classes_than_in_training(tmp_path):
    source = class_folders(tmp_path)
    val = tmp_path / 'val'
    for name in ('cat', 'hound'):
        (val / name).mkdir(parents=True)
        (val / name / '0.jpg').write_bytes((tmp_path / 'train' / 'cat' / '0.jpg').read_bytes())
    message = r"label 1 is 'dog' in .*train, but 'hound' in .*val: both must have the same classes"
    refused(message, source, accuracy(topk=(1,)), dataset=dict(data_prefix='val'))
    (val / 'dog').mkdir()
    (val / 'dog' / '0.jpg').write_bytes((tmp_path / 'train' / 'cat' / '0.jpg').read_bytes())
    refused("2 classes in .*train, but 3 in .*'hound'", source, accuracy(topk=(1,)), dataset=dict(data_prefix='val'))


def test_classes_in_another_order_than_in_training(tmp_path):
    source = label_maps(tmp_path)
    iou = dict(_scope_='mmseg', type='IoUMetric')
    swapped = dict(metainfo=dict(classes=list('bacd')))
    refused("source 'pets': in training and validation, .*label 0 is 'a' in .*, but 'b'", source, iou, dataset=swapped)


SCORES = range(1, 13)
DYNAMIC = dict(val_begin=2, val_interval=5, dynamic_intervals=[(6, 1), (9, 4)])


@pytest.mark.parametrize('train_cfg', [{}, DYNAMIC], ids=['every', 'dynamic'])
@pytest.mark.parametrize('unit', ['step', 'epoch'])
def test_every_validation_is_made_once(tmp_path, unit, train_cfg):
    settings = {f'{unit}s': 12, 'scores': SCORES, 'train_cfg': train_cfg}
    straight = trained(tmp_path / 'straight', **settings).val_loop.validated
    assert straight == ([5, 6, 7, 8, 12] if train_cfg else list(range(1, 13)))
    for at in (5, 7, 12):
        folder = tmp_path / f'{at}'
        first = trained(folder, hooks=[dict(type='InterruptHook', **{unit: at})], **settings).val_loop.validated
        assert first + trained(folder, resume='auto', **settings).val_loop.validated == straight, at
