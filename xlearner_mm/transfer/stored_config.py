"""Settings that a file brings along, checked before anything is built from them.

MMEngine builds what ``type`` names, and where no registry knows the name it imports it: ``type='os.system'`` in a
stranger's checkpoint would be run. So only backbones, and layers within them, are built from stored settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from mmengine.registry import Registry
from torch import nn

from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.registry import MODELS
from xlearner_mm.transfer.checkpoint import CheckpointError

_LIBRARIES = ('mmdet', 'mmseg', 'mmpretrain')
_OURS = 'xlearner_mm.models.backbones.'
_BACKBONES = (
    *(f'{library}.models.backbones.' for library in _LIBRARIES),
    _OURS,
    'xlearner_mm.models.expansion.expanded_backbone',
)
# mmengine's wrapper is its SyncBN.
_LAYERS = ('torch.nn.', 'mmcv.cnn.', 'mmcv.ops.', 'mmengine.utils.dl_utils.parrots_wrapper')
# These download, or build what their own settings name.
_REFUSED = ('TIMMBackbone', 'VPD')
_STARTS = ('init_cfg', 'pretrained')


def without_start(settings: Any) -> Any:
    """Return settings without what says where weights come from, at every depth: they are in the file."""
    if isinstance(settings, Mapping):
        return {key: without_start(value) for key, value in settings.items() if key not in _STARTS}
    if isinstance(settings, list | tuple):
        return [without_start(value) for value in settings]
    return settings


def build_stored(settings: Mapping[str, Any], what: str) -> nn.Module:
    """Build the backbone that a file's own settings describe, with random weights.

    Args:
        settings: of a registered backbone, as plain data.
        what: name of their origin, for messages.

    Raises:
        CheckpointError: they name anything but a backbone and its layers, or cannot be built.
    """
    settings = without_start(settings)
    for scope, name in _types_in(settings, None, what):
        _check_type(name, scope, what)
    try:
        backbone = MODELS.build(without_library_defaults(settings))
    except Exception as error:
        raise CheckpointError(
            f'{what}: its backbone cannot be built, {type(error).__name__}: {error}; was it written by another version?'
        ) from error
    return backbone


def _types_in(settings: Any, scope: str | None, what: str) -> Iterator[tuple[str | None, str]]:
    """Yield every type that is named, with the scope it is looked up in."""
    if isinstance(settings, Mapping):
        scope = settings.get('_scope_', scope)
        if scope not in (None, 'mmengine', *_LIBRARIES):
            raise CheckpointError(f"{what} is refused: its settings name the unknown scope '{scope}'")
        if 'type' in settings:
            yield scope, settings['type']
        for value in settings.values():
            yield from _types_in(value, scope, what)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _types_in(value, scope, what)


def _check_type(name: Any, scope: str | None, what: str) -> None:
    cls = _registered(name, scope) if isinstance(name, str) else None
    if cls is None:
        raise CheckpointError(
            f'{what} is refused: its settings name the type {name!r}, which is not registered; if it is a backbone of '
            'yours, import the module that registers it first'
        )
    cls = cls.func if isinstance(cls, partial) else cls
    module = cls.__module__
    stock = module.split('.')[0] in ('torch', 'torchvision', 'mmcv', 'mmengine', 'xlearner_mm', *_LIBRARIES)
    # `XLearnerResNetV1c` is a function.
    buildable = isinstance(cls, type) or module.startswith(_OURS)
    known = buildable and module.startswith((*_BACKBONES, *_LAYERS)) and name.split('.')[-1] not in _REFUSED
    # What a user registered himself is code of his own.
    if stock and not known:
        raise CheckpointError(f"{what} is refused: its settings name '{name}', which is neither a backbone nor a layer")


def _registered(name: str, scope: str | None) -> Any:
    """What a name is registered as; unlike ``Registry.get``, never what can be imported by it."""
    prefix, key = Registry.split_scope_key(name)
    if prefix not in (None, 'mmengine', *_LIBRARIES):
        return None
    for wanted in (prefix,) if prefix else (scope, None):
        registry = _registry_of(wanted)
        if key in registry.module_dict:
            return registry.module_dict[key]
    return None


def _registry_of(scope: str | None) -> Registry:
    if scope in (None, 'mmengine'):
        return MODELS
    import_module(f'{scope}.registry')
    registry = MODELS.children[scope]
    registry.import_from_location()
    return registry
