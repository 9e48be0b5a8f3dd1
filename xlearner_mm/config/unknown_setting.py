"""Explain unknown settings: the module that refused it, its place in the config, the nearest known name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.runner import Runner, set_random_seed
from mmengine.utils.dl_utils import set_multi_processing
from torch.distributed import init_process_group
from torch.utils.data import DataLoader

from xlearner_mm.errors import ConfigError, SourceError
from xlearner_mm.nearest_name import misspelled, nearest, settings_of
from xlearner_mm.registry import bare_name

_REFUSED = re.compile(
    r"(\w+)(?:\.__init__)?\(\) (?:takes no arguments|missing \d+ required|got an unexpected keyword argument '(\w+)')"
)
_BUILDER = 'build_from_cfg'
_UNREGISTERED = {'DataLoader': DataLoader}
"""Classes that are built from dicts without a ``type``."""
_ENVIRONMENT = ['cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit']
_LAUNCH = ['backend', 'init_backend', 'port', 'timeout']
"""Read by MMEngine's launch itself; all other settings are passed on to torch."""
_OF_SOURCE = re.compile(r'\bsources\.(\w+)\.')


class _Refusal(NamedTuple):
    name: str
    taker: Callable[..., Any]
    key: str
    kinds: tuple[str | None, ...]


def explained(error: Exception, config: Config | None) -> Exception:
    """Return an error that explains the unknown setting behind ``error``, or ``error`` itself.

    Args:
        error: the end of a run.
        config: the run's; None before it was read.
    """
    for refusal in _refusals(error):
        settings = {} if config is None else config.to_dict()
        for path in [place for kind in refusal.kinds for place in _places(settings, refusal.key, kind)]:
            source = _OF_SOURCE.search(path)
            owner = f"source '{source[1]}': " if source else ''
            meant = nearest(refusal.key, settings_of(refusal.taker))
            kept = _inherited(refusal.key, config)
            return (SourceError if source else ConfigError)(
                f"{owner}{refusal.name} has no setting '{refusal.key}'{meant} (in the config: {path}){kept}"
            )
    return error


def _inherited(key: str, config: Config | None) -> str:
    """Return a hint on ``_delete_`` for a setting that only base configs write."""
    try:
        own = '' if config is None or config.filename is None else Path(config.filename).read_text(encoding='utf-8')
    except OSError:
        return ''
    written = re.compile(rf'\b{re.escape(key)}\b[\'"]?\s*[=:]')
    if not own or config is None or written.search(own) or not written.search(config.text or ''):
        return ''
    return (
        f"; {Path(config.filename).name} inherits '{key}' from a base config: to replace that dict instead of updating "
        'it, add _delete_=True to the new one'
    )


def refuse_misspelled(config: Config) -> None:
    """Refuse top-level settings that are typos of the runner's, and unread settings of ``env_cfg`` and ``randomness``.

    Raises:
        ConfigError: names the setting and the nearest known one.
    """
    known = settings_of(Runner)
    for name in config:
        meant = misspelled(name, known)
        if name not in known and meant is not None:
            raise ConfigError(f"the config sets '{name}', which no training reads; did you mean '{meant}'?")
    settings = config.to_dict()
    environment = settings.get('env_cfg') or {}
    ranks = environment.get('dist_cfg') or {}
    _refuse_unread('env_cfg', environment, _ENVIRONMENT)
    _refuse_unread('env_cfg.mp_cfg', environment.get('mp_cfg'), settings_of(set_multi_processing))
    if ranks.get('init_backend', 'torch') == 'torch':
        _refuse_unread('env_cfg.dist_cfg', ranks, [*_LAUNCH, *settings_of(init_process_group)])
    _refuse_unread('randomness', settings.get('randomness'), settings_of(set_random_seed))


def _refuse_unread(where: str, settings: Mapping[str, Any] | None, known: list[str]) -> None:
    for name in settings or {}:
        if name not in known:
            raise ConfigError(f"{where} has no setting '{name}'{nearest(name, known)}")


def _refusals(error: BaseException) -> Iterator[_Refusal]:
    """Yield the refused settings in an error's chain, the innermost first."""
    inner = error.__cause__ or error.__context__
    if inner is not None:
        yield from _refusals(inner)
    refused = _REFUSED.search(str(error)) if isinstance(error, TypeError) else None
    if refused is None:
        return
    if refused[1] in _UNREGISTERED:
        yield _Refusal(refused[1], _UNREGISTERED[refused[1]], refused[2], (None,))
        return
    # A base class may have refused it: the registry's frame knows the class of the config.
    frames = [frame.f_locals for frame, _ in walk_tb(error.__traceback__) if _builds(frame)]
    for built in reversed(frames):
        given = [key for key in built['cfg'] if key not in ('type', '_scope_')]
        if refused[2] is None:
            # Python names the missing argument, not the misspelled one.
            known = settings_of(built['obj_cls'])
            given = [key for key in given if key not in known]
        given = [key for key in given if refused[2] in (key, None)]
        if given:
            # A runner may build a subclass of the config's type, or a default type.
            bases = getattr(built['obj_cls'], '__mro__', ())
            kind = _kind(built['cfg'])
            kinds = (kind, *(base.__name__ for base in bases), None)
            yield _Refusal(str(kind), built['obj_cls'], given[0], kinds)


def _builds(frame: FrameType) -> bool:
    return frame.f_code.co_name == _BUILDER and 'obj_cls' in frame.f_locals


def _places(settings: Any, key: str, kind: str | None, path: str = '') -> Iterator[str]:
    """Yield the places of the setting in dicts of that type, or without a type (None)."""
    if isinstance(settings, Mapping):
        if key in settings and _kind(settings) == kind:
            yield f'{path}{key}'
        for name, value in settings.items():
            yield from _places(value, key, kind, f'{path}{name}.')
    elif isinstance(settings, list | tuple):
        for number, value in enumerate(settings):
            yield from _places(value, key, kind, f'{path.removesuffix(".")}[{number}].')


def _kind(settings: Mapping[str, Any]) -> str | None:
    return None if settings.get('type') is None else bare_name(settings['type'])
