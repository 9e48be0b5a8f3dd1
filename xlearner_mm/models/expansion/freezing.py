"""Frozen parts of an expanded backbone, as downstream configs ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from xlearner_mm.models.expansion.branch import Branch
from xlearner_mm.models.expansion.reconciliation import LinkKey


def frozen_modules(
    branches: Mapping[str, Branch], links: Mapping[str, nn.Module], keys: Iterable[LinkKey], frozen_stages: int
) -> list[nn.Module]:
    """Return what ``frozen_stages`` freezes beside the stages that branches freeze themselves, which are told to.

    As in a ResNet: -1 freezes nothing, 0 the stems, k also the first k levels, with the links into them; all levels or
    more freeze everything.

    Args:
        branches: the branches, by name.
        links: the links, by module name.
        keys: end points of the links.
        frozen_stages: k.

    Raises:
        ValueError: a branch that cannot freeze some of its stages.
    """
    if frozen_stages < 0:
        return []
    if frozen_stages >= max(len(branch.channels) for branch in branches.values()):
        return [*branches.values(), *links.values()]
    for name, branch in branches.items():
        if not hasattr(branch.backbone, '_freeze_stages'):
            raise ValueError(
                f"branch '{name}': {type(branch.backbone).__name__} cannot freeze {frozen_stages} of its stages; "
                'freeze all (frozen_stages=4) or none (-1)'
            )
        branch.backbone.frozen_stages = max(frozen_stages, branch.backbone.frozen_stages)
        branch.backbone._freeze_stages()
    return [links[key.module_name] for key in keys if key.receiver_level < frozen_stages]


def freeze(modules: Iterable[nn.Module]) -> None:
    """Take parameters out of training and norms to inference."""
    for module in modules:
        module.eval()
        for parameter in module.parameters():
            parameter.requires_grad = False
