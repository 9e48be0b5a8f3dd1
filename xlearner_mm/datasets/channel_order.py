"""Channel order of a dataset's images as its pipeline hands them to the data preprocessor."""

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
from xlearner_mm.registry import DATASETS
from xlearner_mm.untouched_randomness import untouched_randomness

DECLARED = 'channel_order'
"""Key of a dataset's ``metainfo`` in which a class that holds arrays says their order."""

_TURNED = {RGB: BGR, BGR: RGB}
# Datasets of the libraries that hold arrays instead of paths.
_ARRAYS = {'CIFAR10': RGB, 'MNIST': GRAY}
# Transforms of the libraries that turn the channels round, by which setting, and its default.
_TURNING = {
    'NumpyToPIL': ('to_rgb', False),
    'ToPIL': ('to_rgb', False),
    'PILToNumpy': ('to_bgr', False),
    'ToNumpy': ('to_bgr', False),
    'Normalize': ('to_rgb', True),
}
_GROUPS = ('Compose', 'KeyMapper', 'MultiView', 'RandomApply', 'RandomChoice', 'TransformBroadcaster')
_LIBRARIES = ('mmcv', 'mmengine', 'mmdet', 'mmseg', 'mmpretrain', 'torchvision', 'xlearner_mm')
# Colours (RGB) of the file and of the array that a transform of the user's own is tried on.
_FILE, _ARRAY = (200, 100, 50), (30, 20, 10)


def turned(order: str, swaps: bool) -> str:
    """Return the order after a data preprocessor, which swaps the channels or leaves them; gray has none."""
    return _TURNED.get(order, order) if swaps else order


def loaded_order(dataset: Any, what: str, scope: str | None = None) -> str:
    """Return the order in which a dataset's pipeline gives its images: ``'rgb'``, ``'bgr'`` or ``'gray'``.

    ``LoadImageFromFile`` gives BGR whatever its backend (but ``tifffile``), mmpretrain's CIFAR holds RGB arrays and its
    MNIST gray ones, torchvision's datasets RGB images. Transforms that turn channels round count; those of the user's
    own are tried on a colour. Any other dataset that holds arrays says it in its
    ``metainfo=dict(channel_order='rgb')``. What nobody can know of is taken for BGR, as is the custom of OpenMMLab.

    Args:
        dataset: a dataset or its config; wrappers around several are looked through.
        what: whose dataset it is, for messages.
        scope: the library of a config without ``_scope_``. Defaults to None: the current default scope.

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
            "preprocessor cannot be right for both: turn one of them round in its pipeline, by dict(type='NumpyToPIL', "
            "to_rgb=True), dict(type='PILToNumpy') of mmpretrain"
        )
    return colored[0][0] if colored else next(iter(found), BGR)


def agreed_order(datasets: Mapping[str, Any], what: str, scope: str | None = None) -> str:
    """Return the one order of a training's datasets, see :func:`loaded_order`.

    Args:
        datasets: ``'training'``, ``'validation'``, ... -> the dataset or its config; None is left out.
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
        kind = self.given.get('type')
        if not isinstance(kind, str):
            return kind if inspect.isclass(kind) else None
        with self.registry.switch_scope_and_registry(self.scope) as registry:
            found = registry.get(kind)
        return found if inspect.isclass(found) else None

    @property
    def name(self) -> str:
        kind = self.given.get('type', '') if isinstance(self.given, Mapping) else type(self.given)
        return getattr(kind, '__name__', str(kind)).split('.')[-1]

    def get(self, key: str, default: Any = None) -> Any:
        return self.given.get(key, default) if isinstance(self.given, Mapping) else getattr(self.given, key, default)

    @property
    def of_libraries(self) -> bool:
        return self.cls is None or self.cls.__module__.split('.')[0] in _LIBRARIES

    def built(self) -> Any:
        if not isinstance(self.given, Mapping):
            return self.given
        with self.registry.switch_scope_and_registry(self.scope) as registry:
            return registry.build(dict(self.given))


@dataclass
class _Leaf:
    """A dataset that wraps no other, and all transforms that its images go through."""

    dataset: _Part
    steps: Sequence[_Part]

    def order(self, what: str) -> str:
        order = self._declared(what) or self._held()
        for step in self.steps:
            order = _after(step, order)
        if order is not None:
            return order
        cls = self.dataset.cls
        if self.steps and cls is not None and issubclass(cls, BaseDataset):
            raise SourceError(
                f'{what}: its {self.dataset.name} holds arrays, and nothing says in which order their channels are: '
                f"add metainfo=dict({DECLARED}='rgb') to it, or 'bgr', or 'gray'"
            )
        return BGR

    def _declared(self, what: str) -> str | None:
        said = (self.dataset.get('metainfo') or {}).get(DECLARED)
        if said is None and self._is_unread():
            said = getattr(self.dataset.cls, 'METAINFO', {}).get(DECLARED)
        if said not in (None, *ORDERS):
            raise SourceError(f"{what}: metainfo.{DECLARED} of its {self.dataset.name} is '{said}', not of {ORDERS}")
        return said

    def _held(self) -> str | None:
        if not self._is_unread():
            return None
        for base in inspect.getmro(self.dataset.cls) if self.dataset.cls else ():
            if base.__module__.startswith('torchvision.datasets'):
                return RGB
            if base.__module__.startswith('mmpretrain.datasets') and base.__name__ in _ARRAYS:
                return _ARRAYS[base.__name__]
        return None

    def _is_unread(self) -> bool:
        """Whether no transform reads a file: its class need not be looked up otherwise."""
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
    """The order after a transform."""
    if step.name in _GROUPS:
        for each in _grouped(step):
            order = _after(each, order)
        return order
    if step.name == 'LoadImageFromFile':
        if 'gray' in step.get('color_type', 'color'):
            return GRAY
        # Of all backends this one gives the channels as they are in the file.
        return RGB if step.get('imdecode_backend') == 'tifffile' else BGR
    if step.name in _TURNING:
        setting, default = _TURNING[step.name]
        return _TURNED.get(order, order) if order and step.get(setting, default) else order
    return order if step.of_libraries else _tried(step, order)


def _grouped(step: _Part) -> list[_Part]:
    """The transforms within one; of alternatives the first."""
    inner = step.get('transforms') or ()
    inner = getattr(inner, 'transforms', inner)
    inner = [inner] if isinstance(inner, Mapping) else list(inner)
    first = inner[0] if inner else ()
    first = getattr(first, 'transforms', first)
    chosen = list(first) if isinstance(first, (list, tuple)) and first else inner
    return [_Part(each, step.registry, step.scope) for each in chosen]


def _tried(step: _Part, order: str | None) -> str | None:
    """The order after a transform of the user's own, seen by what it makes of a coloured file and array."""
    with tempfile.TemporaryDirectory() as folder, untouched_randomness():
        path = str(Path(folder) / 'colour.png')
        Image.new('RGB', (64, 64), _FILE).save(path)
        array = np.full((64, 64, 3), _ARRAY[::-1], dtype=np.uint8)
        try:
            image = step.built()({'img_path': path, 'img': array, 'img_shape': (64, 64), 'ori_shape': (64, 64)})['img']
            pixel = np.asarray(image)[32, 32].round().astype(int).tolist()
        except Exception:  # it needs more than an image, such as boxes: whatever it does, it is no loader
            return order
    if pixel == list(_ARRAY):
        return _TURNED.get(order, order) if order else order
    return {_FILE: RGB, _FILE[::-1]: BGR}.get(tuple(pixel), order)
