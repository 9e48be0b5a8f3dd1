"""The slides' formula, written down literally, loop by loop; every setting must equal it.

F_i^t = E_i^t + sum_k sum_j gamma_{j->i}^{k->t}( sg(E_j^k) )
"""

import torch


def literal_features(backbone, x, receiver):
    """Return F^receiver with gradients everywhere but through sg, other branches' norms in inference mode."""
    settings = backbone.reconciliation
    levels = range(4)
    for name, branch in backbone.branches.items():
        branch.train(backbone.training and name == receiver)
    for key in backbone.link_keys:
        backbone.links[key.module_name].train(backbone.training and key.receiver == receiver)
    E = {name: [] for name in backbone.branches}
    F = {name: [] for name in backbone.branches}
    stream = {name: branch.stem(x) for name, branch in backbone.branches.items()}
    if settings.fuse == 'output':
        for t, branch in backbone.branches.items():
            for i in levels:
                stream[t] = branch.stage(i)(stream[t])
                E[t].append(stream[t])
        for t in backbone.branches:
            F[t] = [fuse(backbone, E, t, i) for i in levels]
    else:
        for i in levels:
            for t, branch in backbone.branches.items():
                E[t].append(branch.stage(i)(stream[t]))
            for t in backbone.branches:
                stream[t] = fuse(backbone, E, t, i)
                F[t].append(stream[t])
    backbone.train(backbone.training)
    return F[receiver]


def fuse(backbone, E, t, i):
    settings = backbone.reconciliation
    total = E[t][i]
    for k in backbone.branches:
        for j in range(4):
            linked = {
                'lower': j <= i,
                'same': j == i,
                'higher': j >= i,
                'all': True,
                'none': False,
            }[settings.topology]
            if linked and i in settings.link_levels and (k != t or settings.include_self):
                gamma = backbone.links[f'{k}_{j}__{t}_{i}']
                sent = E[k][j].detach() if settings.detach else E[k][j]
                total = total + gamma(sent, tuple(E[t][i].shape[-2:]))
    return total


def randomise(backbone):
    """Give links and norms values that matter: at the start links are zero."""
    generator = torch.Generator().manual_seed(1)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.0, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.0, generator=generator)
    for link in backbone.links.values():
        for parameter in link.parameters():
            if parameter.dim() == 4:
                parameter.data.normal_(0, 0.1, generator=generator)
    return backbone
