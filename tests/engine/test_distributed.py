"""Two processes do what one does with twice the batch."""

import copy
import json

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch.nn import functional as F

from xlearner_mm.engine.launch import launch
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_detector, tiny_expanded, tiny_resnet, tiny_sources

from ..models.expansion.reference import randomise
from .conftest import CONFIGS
from .ranks import run_ranks


def tiny_atss():
    """A detector that divides by the positives of all processes, as mmdet's newer heads do."""
    detector = tiny_detector()
    head = {key: detector['bbox_head'][key] for key in ('num_classes', 'in_channels', 'stacked_convs', 'feat_channels')}
    detector['type'] = 'ATSS'
    detector['bbox_head'] = dict(
        type='ATSSHead',
        **head,
        norm_cfg=dict(type='GN', num_groups=4),
        anchor_generator=dict(
            type='AnchorGenerator', ratios=[1.0], octave_base_scale=3, scales_per_octave=1, strides=[8, 16, 32]
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='GIoULoss'),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
    )
    detector['train_cfg']['assigner'] = dict(type='ATSSAssigner', topk=9)
    return detector


def single_boxes(detector):
    sources = dict(boxes=dict(tiny_sources()['boxes'], network=detector))
    return dict(type='ExpansionLearner', backbone=tiny_expanded('det'), sources=sources)


@pytest.fixture
def build(tmp_path):
    def build(detector, hints=False, with_cp=False):
        """A learner whose links bring something, with hints for its detection source if asked."""
        sources = tiny_sources()
        sources['boxes']['network'] = detector
        cfg = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=sources)
        cfg['backbone']['branches'] = {name: tiny_resnet(with_cp=with_cp) for name in ('cls', 'det', 'seg')}
        if hints:
            teacher = MODELS.build(single_boxes(detector))
            torch.save(dict(state_dict=teacher.state_dict()), tmp_path / 'teacher.pth')
            cfg['hints'] = dict(boxes=dict(model=single_boxes(detector), checkpoint=str(tmp_path / 'teacher.pth')))
        learner = MODELS.build(cfg)
        learner.init_weights()
        randomise(learner.backbone)
        return learner

    return build


def freeze_norms(model):
    """Batch statistics of a part of the batch are not those of the whole."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return model


def share(batch, rank, size=2):
    part = slice(rank * size, (rank + 1) * size)
    return copy.deepcopy({name: {key: value[part] for key, value in own.items()} for name, own in batch.items()})


def step(learner, *batches, distributed=False, **wrapper):
    """Train a copy on the batches; return its state and the names of its losses."""
    model = freeze_norms(copy.deepcopy(learner))
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), **wrapper)
    trained = MMDistributedDataParallel(model, broadcast_buffers=False) if distributed else model
    for batch in batches:
        losses = trained.train_step(copy.deepcopy(batch), optimizer)
    return model.state_dict(), list(losses)


def assert_same_step(state, other, before):
    assert any(not torch.equal(value, before[key]) for key, value in state.items())
    for key, value in state.items():
        torch.testing.assert_close(value, other[key], atol=2e-5, rtol=1e-3, msg=lambda text, key=key: f'{key}: {text}')


def in_two_processes(learner, batch, folder):
    return run_ranks(lambda rank: step(learner, share(batch, rank), distributed=True), folder)


def test_gradients_of_two_processes_are_those_of_one(build, tmp_path):
    learner, batch = build(tiny_atss(), hints=True), tiny_batch(4)
    (first, names), (second, _) = in_two_processes(learner, batch, tmp_path / 'ranks')
    alone, names_alone = step(learner, batch)
    assert names == names_alone
    assert all(torch.equal(first[key], second[key]) for key in first if 'standardizers' not in key)
    assert_same_step(first, alone, learner.state_dict())
    moved = [
        key
        for key, value in first.items()
        if key.startswith('backbone.links')
        and 'running' not in key
        and not torch.equal(value, learner.state_dict()[key])
    ]
    assert moved, 'links train'


def test_recomputation_does_not_change_a_branches_step(build, tmp_path):
    """The blocks of a branch run once per size of its sources' images: DDP may count that as once."""
    plain, recomputing, batch = build(tiny_atss()), build(tiny_atss(), with_cp=True), tiny_batch(4)
    recomputing.load_state_dict(plain.state_dict())
    batch['birds']['inputs'] = [F.pad(image, (0, 0, 0, 32)) for image in batch['birds']['inputs']]
    (first, _), (second, _) = in_two_processes(recomputing, batch, tmp_path / 'ranks')
    alone, _ = step(plain, batch)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert_same_step(first, alone, plain.state_dict())


def without_objects(batch, images):
    batch['boxes']['data_samples'][images] = tiny_batch(2, empty_boxes=True)['boxes']['data_samples']
    return batch


def test_gradients_are_equal_when_one_process_sees_no_object(build, tmp_path):
    learner, batch = build(tiny_atss()), without_objects(tiny_batch(4), slice(2, 4))
    (first, names), (_, other_names) = in_two_processes(learner, batch, tmp_path / 'ranks')
    alone, _ = step(learner, batch)
    assert names == other_names
    assert_same_step(first, alone, learner.state_dict())


def test_heads_that_average_over_own_positives_affect_only_their_branch(build, tmp_path):
    """Stock RetinaNet averages by its own positives; no process may wait for another because of it."""
    learner, batch = build(tiny_detector()), without_objects(tiny_batch(4), slice(2, 4))
    (first, names), (second, other_names) = in_two_processes(learner, batch, tmp_path / 'ranks')
    assert names == other_names
    assert all(torch.equal(first[key], second[key]) for key in first)
    alone, _ = step(learner, batch)
    of_detection = ('backbone.branches.det.', 'networks.boxes.')
    others = {key: value for key, value in first.items() if not key.startswith(of_detection) and '__det_' not in key}
    assert_same_step(others, alone, learner.state_dict())


def test_accumulated_steps_are_one_step_with_the_whole_batch(build):
    # The same detection images twice: RetinaNet divides by the positives of a batch.
    learner, batch = build(tiny_detector()), tiny_batch(4)
    batch['boxes'] = {key: value[:2] * 2 for key, value in batch['boxes'].items()}
    accumulated, _ = step(learner, share(batch, 0), share(batch, 1), accumulative_counts=2)
    whole, _ = step(learner, batch)
    assert_same_step(accumulated, whole, learner.state_dict())


def test_two_processes_measure_what_one_measures(inside, tmp_path):
    config = str(CONFIGS / 'hard_sharing_seg_r18.py')
    torch.save(dict(state_dict=trained_a_little(config, tmp_path)), tmp_path / 'model.pth')
    # Detectors that know little are asked for all their boxes.
    options = [f'sources.{name}.network.test_cfg.score_thr=0.0' for name in ('det_shapes', 'det_digits')]

    def test(folder, launcher):
        done = launch('test', config, str(folder), options, launcher, checkpoint=str(tmp_path / 'model.pth'))
        assert done == 0

    run_ranks(lambda rank: test(tmp_path / 'two', 'pytorch'), tmp_path / 'ranks')
    test(tmp_path / 'one', 'none')
    one, two = (json.loads(next((tmp_path / name).glob('*/*.json')).read_text()) for name in ('one', 'two'))
    assert {key.partition('/')[0] for key in one} >= {'digits', 'shapes', 'textures', 'det_shapes', 'seg_things'}
    for key in set(one) - {'time', 'data_time'}:
        assert two[key] == pytest.approx(one[key], abs=1e-4), key


def trained_a_little(config, tmp_path):
    """Weights of three steps: a random detector has no metric to compare."""
    short = [
        'train_cfg.max_iters=3',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_cfg.val_interval=100',
    ]
    assert launch('train', config, str(tmp_path / 'little'), short) == 0
    return torch.load(tmp_path / 'little' / 'iter_3.pth', weights_only=False)['state_dict']
