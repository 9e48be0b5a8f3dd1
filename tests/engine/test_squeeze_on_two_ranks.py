"""A squeeze in two processes learns, and measures, what it does in one."""

import copy

import pytest
import torch
from torch.nn import functional as F

from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_resnet

from ..models.squeeze.test_fitnet_distiller import literal_loss
from .ranks import run_ranks
from .test_distributed import assert_same_step, freeze_norms, in_two_processes, share, step
from .tiny_runner import tiny_runner
from .tiny_squeeze import tiny_squeeze, validated_sources, validation, write_teacher


@pytest.fixture
def distiller(tmp_path):
    def build(**kwargs):
        distiller = MODELS.build(tiny_squeeze(write_teacher(tmp_path / 'teacher.pth'), **kwargs))
        distiller.init_weights()
        return distiller

    return build


@pytest.mark.parametrize(
    'settings',
    [dict(), dict(supervise='own'), dict(balance='image', source_weights=dict(boxes=3.0))],
    ids=['all', 'own', 'balance-image'],
)
def test_a_step_and_its_moments_are_those_of_one_process_with_the_whole_batch(distiller, tmp_path, settings):
    model, batch = distiller(**settings), tiny_batch(4)
    (first, names), (second, _) = in_two_processes(model, batch, tmp_path / 'ranks')
    alone, names_alone = step(model, batch)
    assert names == names_alone
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert_same_step(first, alone, model.state_dict())
    assert alone['standardizers.det_2.count'] > 0


def test_ranks_with_different_image_sizes_share_moments_without_deadlock(distiller, tmp_path):
    model, batch = distiller(), tiny_batch(4)
    for images in (batch['boxes']['inputs'], batch['masks']['inputs']):
        images[2:] = [F.pad(image, (0, 0, 0, 32)) for image in images[2:]]
    (first, _), (second, _) = in_two_processes(model, batch, tmp_path / 'ranks')
    assert all(torch.equal(first[key], second[key]) for key in first)
    seen = [model.data_preprocessor(share(batch, rank))['inputs'] for rank in (0, 1)]
    levels = [model.teacher.features(images)['seg'][1] for inputs in seen for images in inputs.values()]
    positions = torch.cat([level.transpose(0, 1).flatten(1) for level in levels], dim=1)
    torch.testing.assert_close(first['standardizers.seg_1.mean'], positions.mean(1), rtol=1e-4, atol=1e-5)


def test_ranks_with_different_image_sizes_follow_the_slides_formula(distiller, tmp_path):
    model, batch = distiller(standardize=None, supervise='own', source_weights=dict(cars=2.0)), tiny_batch(4)
    for images in (batch['boxes']['inputs'], batch['masks']['inputs']):
        images[2:] = [F.pad(image, (0, 0, 0, 32)) for image in images[2:]]
    (first, _), (second, _) = in_two_processes(model, batch, tmp_path / 'ranks')
    shares = [model.data_preprocessor(share(batch, rank))['inputs'] for rank in (0, 1)]
    alone = freeze_norms(copy.deepcopy(model))
    images = {name: [*shares[0][name], *shares[1][name]] for name in batch}
    literal_loss(alone, images, sources=dict(cars=2.0), own=True).backward()
    torch.optim.SGD(alone.parameters(), lr=0.1).step()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert_same_step(first, alone.state_dict(), model.state_dict())


def test_recomputation_does_not_change_a_students_step(distiller, tmp_path):
    """Its blocks run once per size of images, and once more in the backward pass: DDP may count that as once."""
    batch = tiny_batch(4)
    batch['boxes']['inputs'] = [F.pad(image, (0, 0, 0, 32)) for image in batch['boxes']['inputs']]
    plain, recomputing = distiller(), distiller(student=tiny_resnet(with_cp=True))
    recomputing.load_state_dict(plain.state_dict())
    (first, _), (second, _) = in_two_processes(recomputing, batch, tmp_path / 'ranks')
    alone, _ = step(plain, batch)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert_same_step(first, alone, plain.state_dict())


def measured(work_dir, teacher, **kwargs):
    """Fidelity and similarity of a squeeze that stays as it was."""
    # No step, and nothing that follows the batch: what is left is what was measured.
    model = tiny_squeeze(teacher, standardize=None)
    model['student'] = tiny_resnet(norm_eval=True)
    runner = tiny_runner(
        work_dir,
        [dict(type='StageMetaHook'), dict(type='FidelityHook'), dict(type='FeatureSimilarityHook', interval=2)],
        model=model,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2),
        **validation(validated_sources('birds', 'cars')),
        **kwargs,
    )
    runner.train()
    scalars = runner.message_hub.log_scalars
    wanted = [name for name in scalars if 'similarity' in name or 'fidelity' in name]
    return {name: scalars[name].current() for name in wanted}


def test_fidelity_and_similarity_are_those_of_one_process(tmp_path):
    teacher = write_teacher(tmp_path / 'teacher.pth')
    two = dict(
        launcher='pytorch',
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)),
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
    )
    first, second = run_ranks(lambda rank: measured(tmp_path / 'two', teacher, **two), tmp_path / 'ranks')
    alone = measured(tmp_path / 'one', teacher)
    assert {name.split('/')[1] for name in alone} == {'similarity', 'birds', 'cars', 'sources'}
    assert first == pytest.approx(alone, rel=1e-4)
    assert set(second) == {name for name in alone if 'fidelity' in name}, 'one process looks at similarity'
