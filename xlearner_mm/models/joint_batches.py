"""Sources whose images run as one batch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def joint_groups(inputs: Mapping[str, Tensor]) -> list[list[str]]:
    """Group sources by the spatial size of their images: those of a group can be one tensor.

    Args:
        inputs: source -> images ``(B, 3, H, W)``.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, images in inputs.items():
        groups.setdefault(tuple(images.shape[-2:]), []).append(name)
    return list(groups.values())
