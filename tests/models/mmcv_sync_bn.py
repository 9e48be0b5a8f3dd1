"""mmcv's SyncBN on a CPU, where its operators do not exist: the same class, its kernels written in torch."""

from contextlib import contextmanager
from unittest import mock

import mmcv.ops.sync_bn as stock
import torch.distributed as dist


class Kernels:
    """Compute what ``mmcv._ext`` does for inputs ``(B, C, N)``, into the given tensors."""

    @staticmethod
    def sync_bn_forward_mean(x, mean):
        mean.copy_(x.mean((0, 2)))

    @staticmethod
    def sync_bn_forward_var(x, mean, var):
        var.copy_((x - mean[:, None]).square().mean((0, 2)))

    @staticmethod
    def sync_bn_forward_output(
        x, mean, var, weight, bias, running_mean, running_var, norm, std, out, eps, momentum, group_size
    ):
        count = group_size * x.shape[0] * x.shape[2]
        std.copy_((var + eps).sqrt())
        norm.copy_((x - mean[:, None]) / std[:, None])
        out.copy_(norm * weight[:, None] + bias[:, None])
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * count / (count - 1), momentum)

    @staticmethod
    def sync_bn_backward_param(grad, norm, grad_weight, grad_bias):
        grad_weight.copy_((grad * norm).sum((0, 2)))
        grad_bias.copy_(grad.sum((0, 2)))

    @staticmethod
    def sync_bn_backward_data(grad, weight, grad_weight, grad_bias, norm, std, grad_input):
        count = grad.shape[0] * grad.shape[2]
        shared = (grad_bias[:, None] + norm * grad_weight[:, None]) / count
        grad_input.copy_((weight / std)[:, None] * (grad - shared))


@contextmanager
def on_cpu(folder):
    """Let mmcv's SyncBN be built and run in this process, which becomes a group of one unless it is in a group."""
    alone = not dist.is_initialized()
    if alone:
        dist.init_process_group('gloo', init_method=f'file://{folder}/group', rank=0, world_size=1)
    try:
        with mock.patch.object(stock, 'ext_module', Kernels):
            yield
    finally:
        if alone:
            dist.destroy_process_group()
