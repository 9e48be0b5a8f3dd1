"""Which sources' images run as one batch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def joint_groups(inputs: Mapping[str, Tensor], network: nn.Module) -> list[list[str]]:
    """Group sources by the spatial size of their images: a group runs through the network as one batch.

    With SyncBN every source is a group of its own. Its norms talk to the other ranks in every pass, and the sizes of
    detection images, hence the number of groups, differ from rank to rank.

    Args:
        inputs: source -> images ``(B, 3, H, W)``, in an order that all ranks share.
        network: what they run through.
    """
    if any(isinstance(module, nn.SyncBatchNorm) for module in network.modules()):
        return [[name] for name in inputs]
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, images in inputs.items():
        groups.setdefault(tuple(images.shape[-2:]), []).append(name)
    return list(groups.values())
