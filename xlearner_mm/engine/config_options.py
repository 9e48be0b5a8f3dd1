"""A config file with what the command line says."""

from __future__ import annotations

import argparse
import ast
import os.path as osp
import re
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config, DictAction

from xlearner_mm.datasets.source import SourceError

_HOLDS_DICT = re.compile(r'^\s*\{|^\s*[\[(].*\{|\bdict\(')
# Where a multi-source config holds its sources; each component reads its own part of them.
_HOLDERS = (
    'sources',
    'model.sources',
    'model.teacher.model.sources',
    'train_dataloader.dataset.sources',
    'val_dataloader.sources',
    'val_evaluator.sources',
    'test_dataloader.sources',
    'test_evaluator.sources',
)


def load_config(config: str, work_dir: str | None, options: Sequence[str], launcher: str) -> Config:
    """Read a config file and apply what the command line says.

    Args:
        config: path of a text config.
        work_dir: where logs and checkpoints go. None is the config's own, or ``work_dirs/<config name>``.
        options: ``KEY=VALUE`` overrides, read as OpenMMLab's tools read them, those with dicts as in a config.
            ``sources.<name>...`` changes a source wherever the config holds it.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Raises:
        FileNotFoundError: no such config.
        SourceError: an option that is not ``KEY=VALUE`` or names an unknown source.
    """
    if not osp.isfile(config):
        raise FileNotFoundError(f'config {config} does not exist')
    parsed = Config.fromfile(config)
    # Every component holds the sources it needs: formatting that with yapf, thrice a run, takes 20 s. fromfile has
    # a switch for it, which text configs ignore.
    content = _without_own_scope(parsed.to_dict())
    cfg = Config(content, cfg_text=parsed.text, filename=parsed.filename, format_python_code=False)
    _apply(cfg, dict(parse_option(option) for option in options))
    cfg.launcher = launcher
    if launcher != 'none' and not torch.cuda.is_available():
        cfg.env_cfg.setdefault('dist_cfg', {})['backend'] = 'gloo'
        # MMEngine's own wrapper names a device, which DDP refuses on a CPU.
        cfg.setdefault('model_wrapper_cfg', {'type': 'MMDistributedDataParallel', 'broadcast_buffers': False})
        cfg.model_wrapper_cfg['device_ids'] = None
    name = osp.splitext(osp.basename(config))[0]
    cfg.work_dir = work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    return cfg


def _without_own_scope(value: Any) -> Any:
    """Drop the scope that ``_base_ = 'xlearner_mm::...'`` puts on every dict of the base.

    Ours are in the root registries, which every scope falls back to; a collate function would take it as an argument.
    """
    if isinstance(value, dict):
        return {
            key: _without_own_scope(item)
            for key, item in value.items()
            if not (key == '_scope_' and item == 'xlearner_mm')
        }
    if isinstance(value, list | tuple):
        return type(value)(_without_own_scope(item) for item in value)
    return value


def parse_option(option: str) -> tuple[str, Any]:
    """Split ``KEY=VALUE`` and read the value.

    A value with a dict in it is read as it would stand in a config: ``"custom_hooks=[dict(type='EMAHook')]"``.

    Raises:
        SourceError: no ``=`` in it, or a value that cannot be read.
    """
    key, equals, text = option.partition('=')
    if not equals or not key:
        raise SourceError(f"--cfg-options: '{option}' must be KEY=VALUE")
    try:
        if _HOLDS_DICT.search(text):
            return key, _literal(ast.parse(text.strip(), mode='eval').body)
        parser = argparse.ArgumentParser(exit_on_error=False)
        parser.add_argument('--option', nargs='+', action=DictAction)
        return key, parser.parse_args(['--option', option]).option[key]
    except (ValueError, SyntaxError, AssertionError, argparse.ArgumentError, RecursionError) as error:
        why = 'OpenMMLab reads no such brackets' if isinstance(error, RecursionError) else error
        raise SourceError(
            f"--cfg-options: the value of '{option}' cannot be read: {why}; write lists as [a,b], and dicts as "
            'in a config, strings quoted: "custom_hooks=[dict(type=\'EMAHook\')]"'
        ) from error


def _literal(node: ast.expr) -> Any:
    """The value of a Python literal in which dicts may be written as calls; nothing is executed."""
    match node:
        case ast.Call(func=ast.Name('dict'), args=[], keywords=keywords):
            return {_named(keyword): _literal(keyword.value) for keyword in keywords}
        case ast.Dict(keys=keys, values=values):
            return {_key(key): _literal(value) for key, value in zip(keys, values, strict=True)}
        case ast.List(elts=parts):
            return [_literal(part) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(_literal(part) for part in parts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f'{ast.unparse(node)} is neither quoted nor a number') from None


def _named(keyword: ast.keyword) -> str:
    if keyword.arg is None:
        raise ValueError('a dict with ** in it')
    return keyword.arg


def _key(key: ast.expr | None) -> Any:
    if key is None:
        raise ValueError('a dict with ** in it')
    return _literal(key)


def _apply(cfg: Config, options: dict[str, Any]) -> None:
    for key, value in options.items():
        if key.startswith('sources.') and 'sources' in cfg:
            _change_source(cfg, key.removeprefix('sources.'), value)
        else:
            cfg.merge_from_dict({key: value})


def _change_source(cfg: Config, path: str, value: Any) -> None:
    """Change a source's setting in every component, and the batch size that is the sum of the sources'."""
    name = path.split('.')[0]
    if name not in cfg.sources:
        raise SourceError(f"--cfg-options: unknown source '{name}'; the sources are {list(cfg.sources)}")
    for holder in _HOLDERS:
        if _holds(cfg, holder, name):
            cfg.merge_from_dict({f'{holder}.{path}': value})
    if path.endswith('.batch_size') and path.count('.') == 1 and 'train_dataloader' in cfg:
        cfg.train_dataloader.batch_size = sum(source['batch_size'] for source in cfg.sources.values())


def _holds(cfg: Config, holder: str, name: str) -> bool:
    part: Any = cfg
    for key in holder.split('.'):
        if not hasattr(part, 'get') or part.get(key) is None:
            return False
        part = part.get(key)
    return name in part
