"""Channel order of a dataset's images at the input of the data preprocessor."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import TRANSFORMS, Registry
from PIL import Image

from xlearner_mm.errors import SourceError
from xlearner_mm.normalization import BGR, GRAY, ORDERS, RGB
from xlearner_mm.registry import DATASETS, type_of
from xlearner_mm.untouched_randomness import untouched_randomness

DECLARED = 'channel_order'
"""Key of a dataset's ``metainfo`` for the order of arrays that it holds."""

_SWAPPED = {RGB: BGR, BGR: RGB}
# Datasets of mmpretrain that hold arrays instead of paths.
_ARRAYS = {'CIFAR10': RGB, 'MNIST': GRAY}
# Transforms of the libraries that swap channels: the setting, and its default.
_SWAPPING = {
    'NumpyToPIL': ('to_rgb', False),
    'ToPIL': ('to_rgb', False),
    'PILToNumpy': ('to_bgr', False),
    'ToNumpy': ('to_bgr', False),
    'Normalize': ('to_rgb', True),
}
_GROUPS = ('Compose', 'KeyMapper', 'MultiView', 'RandomApply', 'RandomChoice', 'TransformBroadcaster')
_LIBRARIES = ('mmcv', 'mmengine', 'mmdet', 'mmseg', 'mmpretrain', 'torchvision', 'xlearner_mm')
# RGB colors of the file and the array on which other transforms are tried.
_FILE, _ARRAY = (200, 100, 50), (30, 20, 10)


def turned(order: str, swaps: bool) -> str:
    """Return the order after a data preprocessor that swaps channels or not; gray has none."""
    return _SWAPPED.get(order, order) if swaps else order


def loaded_order(dataset: Any, what: str, scope: str | None = None) -> str:
    """Return the channel order of a dataset's images after its pipeline: ``'rgb'``, ``'bgr'`` or ``'gray'``.

    ``LoadImageFromFile`` gives BGR with any backend but ``tifffile``; mmpretrain's CIFAR holds RGB arrays, its MNIST
    gray ones; torchvision's datasets give RGB. Swapping transforms count; those of other packages are tried on a color.
    Other datasets that hold arrays declare it by ``metainfo=dict(channel_order='rgb')``. The default is BGR.

    Args:
        dataset: a dataset or its config, with or without wrappers.
        what: whose dataset it is, for messages.
        scope: library of a config without ``_scope_``. Defaults to None: the current default scope.

    Raises:
        SourceError: parts of different orders, arrays of unknown order, or an unknown declared order.
    """
    found: dict[str, str] = {}
    for leaf in _leaves(dataset, scope, ()):
        found.setdefault(leaf.order(what), leaf.dataset.name)
    colored = [(order, name) for order, name in found.items() if order != GRAY]
    if len(colored) > 1:
        (one, first), (other, second) = colored[:2]
        raise SourceError(
            f'{what}: its {first} gives images in {one} order, but its {second} in {other} order, and one data '
            "preprocessor cannot fit both: swap one of them in its pipeline, by dict(type='NumpyToPIL', to_rgb=True), "
            "dict(type='PILToNumpy') of mmpretrain"
        )
    return colored[0][0] if colored else next(iter(found), BGR)


def agreed_order(datasets: Mapping[str, Any], what: str, scope: str | None = None) -> str:
    """Return the one channel order of several datasets, see :func:`loaded_order`.

    Args:
        datasets: ``'training'``, ``'validation'``, ... -> a dataset or its config; None is skipped.
        what: whose datasets they are, for messages.
        scope: see :func:`loaded_order`. Defaults to None.

    Raises:
        SourceError: they differ, or as :func:`loaded_order` raises.
    """
    orders = {name: loaded_order(each, what, scope) for name, each in datasets.items() if each is not None}
    colored = {name: order for name, order in orders.items() if order != GRAY}
    for name, order in colored.items():
        first = next(iter(colored))
        if order != colored[first]:
            raise SourceError(
                f'{what}: its {first} images are loaded in {colored[first]} order, but its {name} images in {order} '
                'order, and both go through the same data preprocessor: load them alike'
            )
    return next(iter(colored.values()), GRAY if orders else BGR)


@dataclass
class _Part:
    """A dataset or a transform, built or as its config."""

    given: Any
    registry: Registry
    scope: str | None

    @cached_property
    def cls(self) -> type | None:
        if not isinstance(self.given, Mapping):
            return self.given if inspect.isclass(self.given) else type(self.given)
        found = type_of({'_scope_': self.scope, **self.given}, self.registry)
        return found if inspect.isclass(found) else None

    @property
    def name(self) -> str:
        kind = self.given.get('type', '') if isinstance(self.given, Mapping) else type(self.given)
        return getattr(kind, '__name__', str(kind)).split('.')[-1]

    def get(self, key: str, default: Any = None) -> Any:
        return self.given.get(key, default) if isinstance(self.given, Mapping) else getattr(self.given, key, default)

    def built(self) -> Any:
        if not isinstance(self.given, Mapping):
            return self.given
        with self.registry.switch_scope_and_registry(self.scope) as registry:
            return registry.build(dict(self.given))


@dataclass
class _Leaf:
    """A dataset that wraps no other, and all transforms of its images."""

    dataset: _Part
    steps: Sequence[_Part]

    def order(self, what: str) -> str:
        order = self._declared(what) or self._held()
        for step in self.steps:
            order = _after(step, order)
        if order is not None:
            return order
        if self.steps and self.dataset.cls is not None and issubclass(self.dataset.cls, BaseDataset):
            raise SourceError(
                f'{what}: its {self.dataset.name} holds arrays of unknown channel order: add '
                f"metainfo=dict({DECLARED}='rgb') to it, or 'bgr', or 'gray'"
            )
        return BGR

    def _declared(self, what: str) -> str | None:
        declared = (self.dataset.get('metainfo') or {}).get(DECLARED)
        if declared is None and self._holds_arrays():
            declared = getattr(self.dataset.cls, 'METAINFO', {}).get(DECLARED)
        if declared not in (None, *ORDERS):
            raise SourceError(
                f"{what}: metainfo.{DECLARED} of its {self.dataset.name} is '{declared}', not of {ORDERS}"
            )
        return declared

    def _held(self) -> str | None:
        if not self._holds_arrays():
            return None
        for base in inspect.getmro(self.dataset.cls) if self.dataset.cls else ():
            if base.__module__.startswith('torchvision.datasets'):
                return RGB
            if base.__module__.startswith('mmpretrain.datasets') and base.__name__ in _ARRAYS:
                return _ARRAYS[base.__name__]
        return None

    def _holds_arrays(self) -> bool:
        """True if no transform reads a file; otherwise the class need not be looked up."""
        return all(step.name != 'LoadImageFromFile' for step in self.steps)


def _leaves(dataset: Any, scope: str | None, outer: tuple[_Part, ...]) -> Iterator[_Leaf]:
    part = _Part(dataset, DATASETS, scope)
    scope = part.scope = part.get('_scope_', scope)
    pipeline = part.get('pipeline') or ()
    steps = getattr(pipeline, 'transforms', pipeline)
    own = tuple(_Part(step, TRANSFORMS, scope) for step in steps if step is not None)
    inner = [*(part.get('datasets') or ()), *([held] if (held := part.get('dataset')) is not None else [])]
    if not inner:
        yield _Leaf(part, (*own, *outer))
    for each in inner:
        yield from _leaves(each, scope, (*own, *outer))


def _after(step: _Part, order: str | None) -> str | None:
    """Return the order after a transform."""
    if step.name in _GROUPS:
        for each in _grouped(step):
            order = _after(each, order)
        return order
    if step.name == 'LoadImageFromFile':
        if 'gray' in step.get('color_type', 'color'):
            return GRAY
        # The only backend that returns the channels in the file's order.
        return RGB if step.get('imdecode_backend') == 'tifffile' else BGR
    if step.name in _SWAPPING:
        setting, default = _SWAPPING[step.name]
        return _SWAPPED.get(order, order) if order and step.get(setting, default) else order
    of_libraries = step.cls is None or step.cls.__module__.split('.')[0] in _LIBRARIES
    return order if of_libraries else _tried(step, order)


def _grouped(step: _Part) -> list[_Part]:
    """Return the transforms within a transform; the first of alternatives."""
    inner = step.get('transforms') or ()
    inner = getattr(inner, 'transforms', inner)
    inner = [inner] if isinstance(inner, Mapping) else list(inner)
    first = inner[0] if inner else ()
    first = getattr(first, 'transforms', first)
    chosen = list(first) if isinstance(first, (list, tuple)) and first else inner
    return [_Part(each, step.registry, step.scope) for each in chosen]


def _tried(step: _Part, order: str | None) -> str | None:
    """Return the order after a transform of another package, found by trying it on a colored file and array."""
    with tempfile.TemporaryDirectory() as folder, untouched_randomness():
        path = str(Path(folder) / 'color.png')
        Image.new('RGB', (64, 64), _FILE).save(path)
        array = np.full((64, 64, 3), _ARRAY[::-1], dtype=np.uint8)
        try:
            image = step.built()({'img_path': path, 'img': array, 'img_shape': (64, 64), 'ori_shape': (64, 64)})['img']
            pixel = np.asarray(image)[32, 32].round().astype(int).tolist()
        except Exception:  # it needs more than an image, such as boxes, so it is no loader
            return order
    if pixel == list(_ARRAY):
        return _SWAPPED.get(order, order) if order else order
    return {_FILE: RGB, _FILE[::-1]: BGR}.get(tuple(pixel), order)
