"""``mmpretrain.XLearnerResNet`` and its like: a library's own, whatever the scope, as ``mmpretrain.ResNet`` is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module

from torch import nn


def register_in(libraries: tuple[str, ...], backbones: Mapping[str, Callable[..., nn.Module]]) -> None:
    """Register backbones with every library, which a name with its prefix means.

    MMEngine finds what is registered in its root from everywhere, but then the prefix is gone. Only the libraries'
    registries are imported, not their models.

    Args:
        libraries: their names, which backbones take as ``library``.
        backbones: by the name without prefix.
    """
    for library in libraries:
        registry = import_module(f'{library}.registry').MODELS
        for name, backbone in backbones.items():
            # Importing the package twice, as under two names, must be harmless: `force`.
            registry.register_module(name=name, module=partial(backbone, library=library), force=True)
