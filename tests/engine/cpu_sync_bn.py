"""SyncBatchNorm for a CPU, which torch's refuses (as DDP refuses torch's): the statistics of all ranks' positions."""

import torch
from torch import nn
from torch.distributed.nn.functional import all_reduce


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Counts its messages; a rank that sends fewer than another hangs."""

    messages = 0

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        dims = [d for d in range(x.dim()) if d != 1]
        count = x.new_full((1,), x.numel() / x.shape[1])
        sums = all_reduce(torch.cat([x.sum(dims), x.square().sum(dims), count]))
        type(self).messages += 1
        (mean, square), count = (sums[:-1] / sums[-1]).chunk(2), sums[-1].detach()
        variance = square - mean.square()
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        shape = [1, -1] + [1] * (x.dim() - 2)
        normalized = (x - mean.view(shape)) / (variance + self.eps).sqrt().view(shape)
        return normalized * self.weight.view(shape) + self.bias.view(shape)


def convert(model):
    """Replace every BN, as `sync_bn` does."""
    for name, module in list(model.named_children()):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            own = CpuSyncBatchNorm(module.num_features, module.eps, module.momentum, module.affine)
            own.load_state_dict(module.state_dict())
            setattr(model, name, own.to(module.weight.dtype).train(module.training))
        else:
            convert(module)
    return model
