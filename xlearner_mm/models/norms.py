"""Batch norms: which ones use batch statistics, their state, and batches of several image sizes seen as one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.compilation import eagerly

STATISTICS = ('running_mean', 'running_var')
"""Names of the buffers that hold a norm's running statistics."""


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether a module normalizes by statistics over the batch in training.

    These are torch's ``BatchNorm*d`` and ``SyncBatchNorm``, and all modules with running statistics and a momentum, as
    mmcv's SyncBN (``MMSyncBN``); not norms over a single image or ``FrozenBatchNorm2d``.
    """
    if isinstance(module, _BatchNorm):
        return True
    return _has_statistics(module) and hasattr(module, 'momentum') and not isinstance(module, _InstanceNorm)


def uses_batch_statistics(module: nn.Module) -> bool:
    """Return whether a module is a batch norm that normalizes by its input: in training, or without running ones."""
    return is_batch_norm(module) and (module.training or getattr(module, 'running_mean', None) is None)


def any_batch_statistics(*networks: nn.Module) -> bool:
    """Return whether any norm of some networks normalizes by statistics of the batch, see above."""
    return any(uses_batch_statistics(module) for network in networks for module in network.modules())


def norms_to_inference(network: nn.Module) -> None:
    """Put every batch norm into eval mode."""
    for module in network.modules():
        if is_batch_norm(module):
            module.eval()


def apply_norm_eval(network: nn.Module) -> None:
    """Apply ``norm_eval=True`` of the backbones in a network also to batch norms that their own ``train`` misses."""
    for module in network.modules():
        if getattr(module, 'norm_eval', False):
            norms_to_inference(module)


def _has_statistics(module: nn.Module) -> bool:
    return all(name in module._buffers for name in STATISTICS)


class ModuleState:
    """Training modes and copies of the buffers of some modules, as they are now.

    Args:
        modules: the modules themselves; their children only where they are named too.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        named = list(modules)
        self._modes = [(module, module.training) for module in named]
        self._buffers = [(m, name, b.clone()) for m in named for name, b in m._buffers.items() if b is not None]

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the modules run with it.

        What they write into buffers goes into the copies: their own, and what autograd has saved of them, stay.
        """
        modes = [(module, module.training) for module, _ in self._modes]
        buffers = [(module, name, module._buffers[name]) for module, name, _ in self._buffers]
        _install(self._modes, self._buffers)
        try:
            yield
        finally:
            _install(modes, buffers)


def _install(modes: Iterable[tuple[nn.Module, bool]], buffers: Iterable[tuple[nn.Module, str, Tensor | None]]) -> None:
    for module, training in modes:
        module.training = training
    for module, name, buffer in buffers:
        module._buffers[name] = buffer


_BINARY = ('add', 'sub', 'mul', 'truediv', 'floordiv', 'mod', 'pow', 'matmul', 'and_', 'or_', 'xor')
_COMPARISONS = ('eq', 'ne', 'lt', 'le', 'gt', 'ge')
_UNARY = ('neg', 'abs', 'invert')


class RaggedError(TypeError):
    """Code that needs one value of a whole batch, as its height, where the parts of a ragged batch differ."""


class Ragged:
    """A batch in parts of one image size each, which torch's functions take in place of a tensor.

    torch's functions, methods and operators apply to each part. Attributes that are equal for all parts (channels,
    device, dtype) are plain values, others (batch size, height) are ragged themselves. Only norms with batch statistics
    see all parts together, see :func:`ragged_forwards`.

    Args:
        parts: one tensor per image size, at least two; or one value of each of those tensors.
    """

    __hash__ = object.__hash__

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = tuple(parts)

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return each(func, *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        values = [getattr(part, name) for part in self.parts]
        return partial(each, _call_method, self, name) if callable(values[0]) else ragged(values)

    def __setitem__(self, key: Any, value: Any) -> None:
        each(operator.setitem, self, key, value)

    def __getitem__(self, key: Any) -> Any:
        return each(operator.getitem, self, key)

    def __bool__(self) -> bool:
        return _agreed(self, bool)

    def __len__(self) -> int:
        return _agreed(self, len)

    def __index__(self) -> int:
        return _agreed(self, operator.index)

    def __iter__(self) -> Iterator[Any]:
        raise RaggedError('the images of a batch of several sizes cannot be iterated one by one')

    def __repr__(self) -> str:
        shapes = [tuple(part.shape) if isinstance(part, Tensor) else part for part in self.parts]
        return f'Ragged({shapes})'


Batch = Tensor | Ragged
"""Images or features, of one size or several."""


def _call_method(part: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(part, name)(*args, **kwargs)


def _agreed(value: Ragged, convert: Callable) -> Any:
    converted = {convert(part) for part in value.parts}
    if len(converted) > 1:
        raise RaggedError(f'{convert.__name__}() of a batch of several image sizes differs: {value!r}')
    return converted.pop()


def _reflected(function: Callable, value: Any, other: Any) -> Any:
    return each(function, other, value)


def _add_operators() -> None:
    for name in (*_BINARY, *_COMPARISONS, *_UNARY):
        plain, function = name.strip('_'), getattr(operator, name)
        setattr(Ragged, f'__{plain}__', lambda *args, function=function: each(function, *args))
        if name in _BINARY:
            setattr(Ragged, f'__r{plain}__', lambda *args, function=function: _reflected(function, *args))
            in_place = getattr(operator, f'i{plain}')
            setattr(Ragged, f'__i{plain}__', lambda *args, function=in_place: each(function, *args))


_add_operators()


def ragged(values: Sequence[Any]) -> Any:
    """Combine the values of all parts: plain if there is one part or all are equal, sequences item by item."""
    first = values[0]
    if len(values) == 1:
        return first
    if isinstance(first, Tensor):
        return Ragged(values)
    if isinstance(first, tuple | list) and len({len(value) for value in values}) == 1:
        items = [ragged(items) for items in zip(*values, strict=True)]
        return items if isinstance(first, list) else tuple(items)
    if isinstance(first, Mapping):
        return {key: ragged([value[key] for value in values]) for key in first}
    return first if all(type(value) is type(first) and value == first for value in values) else Ragged(values)


def parts_of(value: Any) -> tuple[Any, ...]:
    """Return the parts of a ragged value; a plain one is its only part."""
    return value.parts if isinstance(value, Ragged) else (value,)


def each(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call a function once for every part of the ragged values among its arguments; once if there are none."""
    count = _count((args, kwargs))
    if count == 0:
        return function(*args, **kwargs)
    return ragged([function(*_part(args, i), **_part(kwargs, i)) for i in range(count)])


def _count(value: Any) -> int:
    if isinstance(value, Ragged):
        return len(value.parts)
    if isinstance(value, Mapping):
        value = value.values()
    elif isinstance(value, slice):
        value = (value.start, value.stop, value.step)
    elif not isinstance(value, tuple | list):
        return 0
    return max(map(_count, value), default=0)


def _part(value: Any, i: int) -> Any:
    if isinstance(value, Ragged):
        return value.parts[i]
    if _count(value) == 0:
        return value
    if isinstance(value, Mapping):
        return {key: _part(own, i) for key, own in value.items()}
    if isinstance(value, slice):
        return slice(*(_part(own, i) for own in (value.start, value.stop, value.step)))
    items = [_part(own, i) for own in value]
    return items if isinstance(value, list) else tuple(items)


@contextmanager
def ragged_forwards(network: nn.Module, batch: Batch, what: str = 'network') -> Iterator[None]:
    """Let a network take a ragged batch.

    Norms with batch statistics then see the images of all parts as one batch, and update their running statistics
    once. Modules without such norms run part by part, whatever their code; the code of the others may use torch's
    functions, methods and operators.

    Args:
        network: any network.
        batch: what it is about to be given; a plain tensor changes nothing.
        what: what messages call the network. Defaults to ``'network'``.

    Raises:
        ConfigError: code of the network that wants images of one size.
    """
    changed: list[tuple[nn.Module, Any]] = []
    if isinstance(batch, Ragged):
        _take_ragged(network, changed)
    try:
        with eagerly(network) if changed else nullcontext():
            yield
    except TypeError as error:
        if not changed:
            raise
        raise ConfigError(
            f'{what}: images of several sizes cannot run as one batch, as its batch norms need: {error}; bring its '
            "sources to one size, or give it norms without batch statistics (norm_cfg=dict(type='GN', num_groups=32))"
        ) from error
    finally:
        for module, before in reversed(changed):
            if before is None:
                del module.__dict__['forward']
            else:
                module.__dict__['forward'] = before


def _take_ragged(module: nn.Module, changed: list[tuple[nn.Module, Any]]) -> bool:
    """Replace forwards where needed; return whether the module holds a norm with batch statistics."""
    joint = uses_batch_statistics(module)
    holds = [_take_ragged(child, changed) for child in module.children()]
    if joint or not any(holds):
        changed.append((module, module.__dict__.get('forward')))
        wrapper = partial(_normalize_jointly, module) if joint else each
        module.__dict__['forward'] = partial(wrapper, module.forward)
    return joint or any(holds)


def _normalize_jointly(norm: nn.Module, forward: Callable, x: Batch) -> Batch:
    """Run a norm with batch statistics on all positions of all parts ``(B, C, ...)``."""
    if not isinstance(x, Ragged):
        return forward(x)
    if getattr(norm, 'stats_mode', 'default') != 'default':
        raise RaggedError("mmcv's SyncBN with stats_mode='N' weighs ranks by images, which hold unlike positions here")
    shapes = [part.shape for part in x.parts]
    if len(shapes[0]) == 2:
        whole = forward(torch.cat(x.parts)).split([len(part) for part in x.parts])
        return Ragged([part.clone() for part in whole])
    images = [image for part in x.parts for image in part.flatten(2).unbind()]
    # (1, C, N, 1), or of as many dimensions as the norm wants: all positions are those of one image.
    whole = forward(torch.cat(images, dim=1).view(1, shapes[0][1], -1, *[1] * (len(shapes[0]) - 3)))
    counts = [shape.numel() // shape[1] for shape in shapes]
    columns = whole.reshape(shapes[0][1], -1).split(counts, dim=1)
    return Ragged([_as_batch(own, shape) for own, shape in zip(columns, shapes, strict=True)])


def _as_batch(columns: Tensor, shape: torch.Size) -> Tensor:
    images = columns.reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1)
    # Copied: an activation that works in place may not write into views of one tensor.
    return images.clone(memory_format=torch.contiguous_format)


def joint_groups(inputs: Mapping[str, Tensor]) -> list[list[str]]:
    """Group sources by the spatial size of their images: those of a group can be one tensor.

    Args:
        inputs: source -> images ``(B, 3, H, W)``.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, images in inputs.items():
        groups.setdefault(tuple(images.shape[-2:]), []).append(name)
    return list(groups.values())
