"""Several ranks with SyncBN train as one process with BN on all images, whatever sizes each rank's images have."""

import copy
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.model import MMDistributedDataParallel, convert_sync_batchnorm
from mmengine.optim import OptimWrapper

from xlearner_mm.models.expansion import BranchDataParallel
from xlearner_mm.models.norms import parts_of, ragged
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_resnet, tiny_sources

from ..models.expansion.reference import randomise
from ..models.mmcv_sync_bn import on_cpu
from .cpu_sync_bn import CpuSyncBatchNorm, convert
from .ranks import run_ranks
from .tiny_squeeze import tiny_squeeze, write_teacher

# Of both ranks: one has images of one size, the other of two.
SHAPES = {0: [(3, 64, 64)], 1: [(2, 64, 64), (1, 96, 128)]}


def images_of(rank, dtype=torch.float64):
    generator = torch.Generator().manual_seed(rank)
    return [torch.randn(n, 3, *size, generator=generator, dtype=dtype) for n, *size in SHAPES[rank]]


def expanded(**branch):
    backbone = MODELS.build(tiny_expanded(branches={name: tiny_resnet(**branch) for name in ('cls', 'det')}))
    backbone.init_weights()
    return randomise(backbone).double().train()


def outcome(backbone, images):
    """Gradients and statistics of a step on the images of one branch."""
    levels = backbone.forward_task(ragged(images), 'det')
    sum(part.square().sum() for level in levels for part in parts_of(level)).backward()
    gradients = {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}
    return gradients, dict(backbone.named_buffers())


def summed_over_ranks(backbone, rank):
    CpuSyncBatchNorm.messages = 0
    gradients, buffers = outcome(backbone, images_of(rank))
    for gradient in gradients.values():
        dist.all_reduce(gradient)
    return gradients, buffers, CpuSyncBatchNorm.messages


@pytest.mark.parametrize('branch', [{}, dict(with_cp=True)], ids=['', 'checkpointed'])
def test_gradients_and_statistics_are_those_of_all_images_in_one_process(branch, tmp_path):
    backbone = expanded(**branch)
    synchronized = convert(copy.deepcopy(backbone))
    ranks = run_ranks(partial(summed_over_ranks, synchronized), tmp_path / 'ranks')
    gradients, buffers = outcome(backbone, images_of(0) + images_of(1))
    assert ranks[0][2] == ranks[1][2] > 0
    for own_gradients, own_buffers, _ in ranks:
        torch.testing.assert_close(own_gradients, gradients)
        torch.testing.assert_close(own_buffers, buffers)


def mixed_batch(rank):
    """A batch in which one of two classification sources has larger images on rank 1."""
    batch = tiny_batch()
    if rank == 1:
        batch['cars']['inputs'] = [F.pad(image, (0, 32, 0, 64)) for image in batch['cars']['inputs']]
    return batch


def ddp(model):
    return MMDistributedDataParallel(model, broadcast_buffers=False)


def trained(model, wrap, rank):
    """State after two steps of training, and the number of messages between the norms."""
    CpuSyncBatchNorm.messages = 0
    model = convert(copy.deepcopy(model)).train()
    wrapped = wrap(model)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    for _ in range(2):
        wrapped.train_step(mixed_batch(rank), optimizer)
    return model.state_dict(), CpuSyncBatchNorm.messages


def tiny_learner(tmp_path, with_cp=False):
    branches = {name: tiny_resnet(with_cp=with_cp) for name in ('cls', 'det', 'seg')}
    learner = dict(type='ExpansionLearner', backbone=tiny_expanded(branches=branches), sources=tiny_sources())
    return MODELS.build(learner)


def tiny_distiller(tmp_path):
    return MODELS.build(
        tiny_squeeze(write_teacher(tmp_path / 'teacher.pth'), guidance=dict(type='GuidanceLayer', norm=True))
    )


@pytest.mark.parametrize(
    ('build', 'wrap'),
    [
        (tiny_learner, ddp),
        (tiny_learner, BranchDataParallel),
        (partial(tiny_learner, with_cp=True), ddp),
        (partial(tiny_learner, with_cp=True), BranchDataParallel),
        (tiny_distiller, ddp),
    ],
    ids=['expansion', 'by branch', 'expansion, checkpointed', 'by branch, checkpointed', 'squeeze'],
)
def test_ranks_with_different_image_sizes_do_not_deadlock(build, wrap, tmp_path):
    model = build(tmp_path)
    model.init_weights()
    (first, messages), (second, others) = run_ranks(partial(trained, model, wrap), tmp_path / 'ranks')
    assert messages == others > 0
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, msg=lambda text, name=name: f'{name}: {text}')


def of_mmcv(backbone, folder, rank):
    with on_cpu(folder):
        synchronized = convert_sync_batchnorm(copy.deepcopy(backbone), 'mmcv').train()
        return outcome(synchronized, images_of(rank, torch.float32))


def test_mmcvs_sync_bn_takes_such_images_too(tmp_path):
    backbone = expanded().float()
    (gradients, first), (_, second) = run_ranks(partial(of_mmcv, backbone, tmp_path), tmp_path / 'ranks')
    assert gradients
    running = [name for name in first if name.startswith('branches.det.') and name.endswith('running_mean')]
    before = dict(backbone.named_buffers())
    for name in running:
        torch.testing.assert_close(first[name], second[name])
        assert not torch.equal(first[name], before[name])


def on_one_gpu(backbone, rank):
    torch.cuda.set_device(0)
    synchronized = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(backbone)).cuda().train()
    gradients, buffers = outcome(synchronized, [images.cuda() for images in images_of(rank)])
    for gradient in gradients.values():
        dist.all_reduce(gradient)
    return {n: g.cpu() for n, g in gradients.items()}, {n: b.cpu() for n, b in buffers.items()}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_gradients_are_equal_on_a_gpu_with_torchs_sync_bn(tmp_path):
    backbone = expanded()
    ranks = run_ranks(partial(on_one_gpu, backbone), tmp_path / 'ranks')
    gradients, buffers = outcome(backbone, images_of(0) + images_of(1))
    for own_gradients, own_buffers in ranks:
        torch.testing.assert_close(own_gradients, gradients)
        torch.testing.assert_close(own_buffers, buffers)
