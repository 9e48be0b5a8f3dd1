"""The backbone in a checkpoint of either stage, or in an export: settings, weights, metadata."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from mmengine.registry import Registry
from torch import Tensor, nn

from xlearner_mm.checkpoint import (
    BRANCHES,
    STUDENT,
    below,
    choose_weights,
    description_of,
    holds_ema,
    load_strictly,
    read_checkpoint,
    resolve_checkpoint,
    sha256_of,
)
from xlearner_mm.checkpoint.stem import stem_named_as
from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.registry import MODELS
from xlearner_mm.version import __version__


@dataclass(frozen=True)
class StoredBackbone:
    """A stored backbone.

    Args:
        path: the file.
        config: settings of the registered backbone, as plain data.
        state: its weights, without prefix.
        meta: metadata of an export, see :func:`~xlearner_mm.export.export_backbone`.
    """

    path: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    meta: dict[str, Any]

    def build(self, **settings: Any) -> nn.Module:
        """Build the backbone with its weights, in eval mode.

        Args:
            settings: override its own.

        Raises:
            CheckpointError: the settings are refused, or do not fit the weights.
        """
        what = f'checkpoint {self.path}'
        backbone = build_stored({**self.config, **settings}, what)
        load_strictly(backbone, stem_named_as(backbone, self.state, what), what)
        backbone.eval()  # which some stock backbones return nothing from
        return backbone


def find_backbone(
    checkpoint: str,
    branch: str | None = None,
    expanded: bool | None = False,
    which: str = 'last',
    ema: bool | None = None,
) -> StoredBackbone:
    """Find the backbone in a checkpoint that describes it.

    Args:
        checkpoint: a checkpoint of either stage, an export, or a work directory.
        branch: of an expanded backbone, the wanted branch. Defaults to None: its only one.
        expanded: take the whole expanded backbone, with all branches and links; None: where no branch is named and
            there are several, or it was pruned. Defaults to False.
        which: of a work directory, ``'last'`` or ``'best'``. Defaults to ``'last'``.
        ema: True: the moving average of the weights; False: the model's own; None: those in ``state_dict``, the
            average where one was kept. Defaults to None.

    Raises:
        CheckpointError: no such checkpoint, one without description, or without the branch or average.
    """
    path = resolve_checkpoint(checkpoint, which)
    content = read_checkpoint(path)
    description = description_of(content)
    if description is None:
        raise CheckpointError(
            f'checkpoint {path} does not describe its backbone: it was trained without StageMetaHook in custom_hooks, '
            "or by another package; get_backbone takes its config, as in backbone=dict(type='XLearnerResNet', depth=50)"
        )
    exported = 'exported_from' in description
    if exported and ema is not None:
        raise CheckpointError(f'checkpoint {path} is an export: choose the moving average or not where it is exported')
    branch, prefix, config = _locate(description, exported, branch, expanded, path)
    state = below(choose_weights(content, ema, path), prefix)
    if not state:
        raise CheckpointError(f'checkpoint {path} holds no weights below {prefix}')
    config = without_start(config)
    meta = {**description, 'backbone': config} if exported else _meta_of(content, description, config, path, ema)
    if branch is not None:
        meta['branch'] = branch
    return StoredBackbone(path, config, state, meta)


def _meta_of(
    content: Mapping[str, Any], description: Mapping[str, Any], config: dict[str, Any], path: str, ema: bool | None
) -> dict[str, Any]:
    def by_name(origin: Mapping[str, Any] | None) -> dict[str, Any] | None:
        # Without its folder: paths of the training machine are private.
        return None if origin is None else {**origin, 'checkpoint': osp.basename(origin['checkpoint'])}

    training = content['meta']
    further = description.get('further_teachers') or {}
    return {
        'stage': description['stage'],
        'backbone': config,
        'branch': None,
        'tasks': description.get('tasks'),
        'sources': description['sources'],
        'normalization': description['normalization'],
        'exported_from': osp.basename(path),
        'exported_from_sha256': sha256_of(path),
        'iterations': training.get('iter'),
        'trained': training.get('time'),
        'ema': holds_ema(content) and ema is not False,
        'teacher': by_name(description.get('teacher')),
        'further_teachers': {name: by_name(teacher) for name, teacher in further.items()},
        **({'sizes': sizes} if (sizes := description.get('sizes')) else {}),
        **({'pruned_from': by_name(origin)} if (origin := description.get('pruned_from')) else {}),
        'xlearner_mm_version': __version__,
    }


def _locate(
    description: Mapping[str, Any], exported: bool, branch: str | None, expanded: bool | None, path: str
) -> tuple[str | None, str, Mapping[str, Any]]:
    """Return branch, key prefix and settings of the wanted backbone."""
    backbone = description['backbone']
    if 'branches' not in backbone:
        if branch is not None or expanded:
            whose = f'an export of {backbone.get("type")}' if exported else f'of the {description["stage"]} stage'
            raise CheckpointError(f'checkpoint {path} is {whose}: it has a student, not branches')
        return None, '' if exported else STUDENT, backbone
    holder, branches = BRANCHES.partition('.')[2] if exported else BRANCHES, backbone['branches']
    if expanded and branch is not None:
        raise CheckpointError(
            f"checkpoint {path}: name branch '{branch}' or take the whole expanded backbone, not both"
        )
    pruned = bool(backbone.get('widths'))
    if expanded or (expanded is None and branch is None and (len(branches) > 1 or pruned)):
        return None, holder.removesuffix('branches.'), backbone
    if branch is None and len(branches) > 1:
        raise CheckpointError(
            f'checkpoint {path} is of the expansion stage with branches {sorted(branches)}: name the one to export, '
            'take the whole expanded backbone, or squeeze them first'
        )
    branch = branch or next(iter(branches))
    if branch not in branches:
        raise CheckpointError(f"checkpoint {path} has no branch '{branch}', but {sorted(branches)}")
    if pruned:
        raise CheckpointError(
            f"checkpoint {path} was pruned: branch '{branch}' is no independent backbone any more; "
            f'{"name no branch, for" if expanded is None else "take"} the whole expanded backbone'
        )
    return branch, f'{holder}{branch}.backbone.', branches[branch]


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


def without_start(settings: Any) -> Any:
    """Return settings without ``init_cfg`` and ``pretrained``, at every depth: the weights are in the file."""
    if isinstance(settings, Mapping):
        return {k: without_start(value) for k, value in settings.items() if k not in ('init_cfg', 'pretrained')}
    if isinstance(settings, list | tuple):
        return [without_start(value) for value in settings]
    return settings


def build_stored(settings: Mapping[str, Any], what: str) -> nn.Module:
    """Build the backbone that a file's settings describe, with random weights.

    Args:
        settings: of a registered backbone, as plain data; not trusted.
        what: name of their origin, for messages.

    Raises:
        CheckpointError: they name anything but a backbone and its layers, or cannot be built.
    """
    settings = without_start(settings)
    for scope, name in _types_in(settings, None, what):
        _check_type(name, scope, what)
    try:
        return MODELS.build(without_library_defaults(settings))
    except Exception as error:
        raise CheckpointError(
            f'{what}: its backbone cannot be built, {type(error).__name__}: {error}; was it written by another version?'
        ) from error


def _types_in(settings: Any, scope: str | None, what: str) -> Iterator[tuple[str | None, str]]:
    """Yield every type with its scope."""
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
    # Users' own registered classes are code that they trust.
    if stock and not known:
        raise CheckpointError(f"{what} is refused: its settings name '{name}', which is neither a backbone nor a layer")


def _registered(name: str, scope: str | None) -> Any:
    """Return the registered class or None; unlike ``Registry.get``, never one that must be imported by name."""
    prefix, key = Registry.split_scope_key(name)
    if prefix not in (None, 'mmengine', *_LIBRARIES):
        return None
    for wanted in (prefix,) if prefix else (scope, None):
        registry = MODELS
        if wanted not in (None, 'mmengine'):
            import_module(f'{wanted}.registry')
            registry = MODELS.children[wanted]
            registry.import_from_location()
        if key in registry.module_dict:
            return registry.module_dict[key]
    return None
