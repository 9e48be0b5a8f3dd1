"""``torch.compile`` of parts of a model in place: the same keys, copies and checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from torch import nn

from xlearner_mm.errors import ConfigError, describe_error, refuse_unknown
from xlearner_mm.nearest_name import nearest

_SETTINGS = ('backend', 'mode', 'dynamic', 'fullgraph', 'options')
_MODES = ('default', 'max-autotune-no-cudagraphs')
_VARIANTS = 8
"""Compiled variants of a module, as torch limits them: training or not, gradients or none, sizes, precisions."""


def check_compile(owner: str, settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return arguments of ``torch.compile``, or None where nothing is to be compiled.

    Args:
        owner: whose setting they are, for messages.
        settings: ``backend``, ``mode``, ``dynamic``, ``fullgraph`` and ``options`` of ``torch.compile``, or None.

    Raises:
        ConfigError: an unknown setting or backend, or a mode with CUDA graphs, which reuse the memory of features that
            links and losses still read.
    """
    if settings is None:
        return None
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{owner}: compile must be arguments of torch.compile, as dict(mode='default'), or None")
    refuse_unknown(f'{owner}: compile', settings, _SETTINGS)
    mode, backend = settings.get('mode') or 'default', settings.get('backend', 'inductor')
    if mode not in _MODES:
        raise ConfigError(
            f"{owner}: compile.mode is '{mode}', choose from {_MODES}: others use CUDA graphs, which reuse the memory "
            'of features that links and losses still read'
        )
    backends = torch.compiler.list_backends(exclude_tags=())
    if backend not in backends:
        raise ConfigError(f"{owner}: compile.backend is '{backend}'{nearest(str(backend), backends)}")
    return dict(settings)


def compile_in_place(owner: str, modules: Iterable[nn.Module], settings: Mapping[str, Any] | None) -> None:
    """Let modules run compiled from their next call on; where the backend cannot compile, warn and leave them eager.

    Copies of a module, as MMEngine's ``EMAHook`` makes, are eager.

    Args:
        owner: whose setting it is, for messages.
        modules: the modules, none within another.
        settings: arguments of ``torch.compile``; None changes nothing.

    Raises:
        ConfigError: an unknown setting, see :func:`check_compile`, or modules whose forward is replaced, as blocks that
            recompute activations.
    """
    settings = check_compile(owner, settings)
    if settings is None:
        return
    chosen = list(modules)
    if any('forward' in vars(part) for module in chosen for part in module.modules()):
        raise ConfigError(
            f'{owner}: compile cannot be combined with activation checkpointing: set with_cp=False in all backbones, '
            'or compile=None'
        )
    backend = settings.get('backend', 'inductor')
    fault = _fault_of(backend, get_device())
    if fault is not None:
        print_log(
            f"{owner}: compile: backend '{backend}' cannot compile here ({fault}): the model runs eagerly; install a "
            'C++ compiler (g++, or name it by the variable CXX) and the headers of Python, for a GPU also Triton',
            logger='current',
            level=logging.WARNING,
        )
        return
    config: Any = torch._dynamo.config  # modules of one code share a limit, and are eager beyond
    config.recompile_limit = max(config.recompile_limit, _VARIANTS * len(chosen))
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, config.recompile_limit)
    for module in chosen:
        module.compile(**settings)


@contextmanager
def eagerly(network: nn.Module) -> Iterator[None]:
    """Run the compiled modules of a network as they are within."""
    compiled = [(part, run) for part in network.modules() if (run := part._compiled_call_impl) is not None]
    for part, _ in compiled:
        part._compiled_call_impl = None
    try:
        yield
    finally:
        for part, run in compiled:
            part._compiled_call_impl = run


@cache
def _fault_of(backend: str, device: str) -> str | None:
    """Compile a sum; return why that fails, or None."""
    try:
        torch.compile(lambda x: x + 1, backend=backend)(torch.zeros(2, device=device))
    except Exception as error:  # whatever a backend and its compilers raise
        return describe_error(error)[:200]
    return None
