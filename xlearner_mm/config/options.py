"""Config files with the options of the command line."""

from __future__ import annotations

import argparse
import ast
import os
import os.path as osp
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from traceback import walk_tb
from typing import Any

import torch
from mmengine.config import Config, DictAction

from xlearner_mm.errors import ConfigError, describe_error
from xlearner_mm.registry import with_registered_names

_HOLDS_DICT = re.compile(r'^\s*\{|^\s*[\[(].*\{|\bdict\(')


def load_config(config: str, work_dir: str | None, options: Sequence[str], launcher: str) -> Config:
    """Read a config file and apply the options of the command line.

    Args:
        config: path of a text config.
        work_dir: where logs and checkpoints go. None is the config's own, or ``work_dirs/<config name>``.
        options: ``KEY=VALUE`` overrides, parsed as by OpenMMLab's tools; dicts as in a config.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Raises:
        FileNotFoundError: no such config.
        ConfigError: a config that cannot be read, an option that is not ``KEY=VALUE``, or an unknown source in it.
    """
    cfg = read_config(config)
    _apply(cfg, dict(parse_option(option) for option in options))
    cfg.launcher = launcher
    if launcher != 'none' and not torch.cuda.is_available():
        cfg.env_cfg.setdefault('dist_cfg', {})['backend'] = 'gloo'
    cfg.work_dir = work_dir or cfg.get('work_dir') or default_work_dir(config)
    return cfg


def default_work_dir(config: str | None) -> str:
    """Return the work directory of a config that sets none."""
    return osp.join('work_dirs', osp.splitext(osp.basename(config))[0]) if config else 'work_dirs'


def read_config(config: str) -> Config:
    """Read a config file of either style.

    Raises:
        FileNotFoundError: no such config.
        ConfigError: it cannot be read; names the file and line of the fault.
    """
    if not osp.isfile(config):
        raise FileNotFoundError(f'config {config} does not exist')
    try:
        return as_read(Config.fromfile(config))
    except Exception as error:  # a config is a program: it may raise anything
        raise ConfigError(f'{_place(error, config)}: {describe_error(error)}') from error


def read_literally(config: str | os.PathLike) -> dict[str, Any]:
    """Read the settings of a config that MMEngine has written, without executing it.

    Args:
        config: path of a text config; settings that are not literals, and any other code, are left out.
    """
    settings: dict[str, Any] = {}
    with open(config, encoding='utf-8', errors='replace') as file:
        text = file.read()
    try:
        lines = ast.parse(text).body
    except (SyntaxError, ValueError):
        return {}
    for line in lines:
        if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
            with suppress(ValueError, TypeError, RecursionError):
                settings[line.targets[0].id] = ast.literal_eval(_DictCalls().visit(line.value))
    return settings


def as_read(cfg: Config) -> Config:
    """Return a config as the tools read it from its file: types by registered names, no scope of our own, sources once.

    Args:
        cfg: any config; left unchanged.
    """
    content = with_registered_names(_without_own_scope(cfg.to_dict()))
    if 'sources' in content:
        # Variables of base files are second copies of the sources, and changing them would have no effect.
        content = {key: value for key, value in content.items() if not _is_source(value)}
    # Formatting with yapf, thrice a run, takes seconds. fromfile has a switch for it, which text configs ignore.
    return Config(content, cfg_text=cfg.text, filename=cfg.filename, format_python_code=False)


def _is_source(value: Any) -> bool:
    return isinstance(value, Mapping) and {'task', 'dataset', 'batch_size'} <= value.keys()


def _place(error: Exception, config: str) -> str:
    """Return file and, if known, line of an error of reading a config."""
    cause = next((each for each in _causes(error) if isinstance(each, SyntaxError)), error)
    place = config
    for frame, line in walk_tb(cause.__traceback__):
        read = frame.f_locals.get('filename')
        if frame.f_globals.get('__name__') == Config.__module__ and isinstance(read, str | os.PathLike):
            # For a missing base config, the file that names it.
            place = os.fspath(read) if osp.isfile(read) else place
        elif frame.f_code.co_name == '<module>' and frame.f_code.co_filename.endswith('.py'):
            place = f'{frame.f_code.co_filename}:{line}'
    if isinstance(cause, SyntaxError) and cause.lineno is not None:
        place = f'{place}:{cause.lineno}'
    return place


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _without_own_scope(value: Any) -> Any:
    """Drop the scope that ``_base_ = 'xlearner_mm::...'`` adds to every dict; ours are in the root registries."""
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
    """Parse ``KEY=VALUE``; dicts are written as in a config: ``"custom_hooks=[dict(type='EMAHook')]"``.

    Raises:
        ConfigError: no ``=`` in it, or a value that cannot be parsed.
    """
    key, equals, text = option.partition('=')
    if not equals or not key:
        raise ConfigError(f"--cfg-options: '{option}' must be KEY=VALUE")
    try:
        if _HOLDS_DICT.search(text):
            return key, ast.literal_eval(_DictCalls().visit(ast.parse(text.strip(), mode='eval')))
        parser = argparse.ArgumentParser(exit_on_error=False)
        parser.add_argument('--option', nargs='+', action=DictAction)
        return key, parser.parse_args(['--option', option]).option[key]
    except (ValueError, SyntaxError, AssertionError, argparse.ArgumentError, RecursionError) as error:
        why = 'OpenMMLab reads no such brackets' if isinstance(error, RecursionError) else error
        raise ConfigError(
            f"--cfg-options: the value of '{option}' cannot be read: {why}; write lists as [a,b], and dicts as "
            'in a config, strings quoted: "custom_hooks=[dict(type=\'EMAHook\')]"'
        ) from error


class _DictCalls(ast.NodeTransformer):
    """Replace ``dict(a=1)`` by ``{'a': 1}``, which is a literal."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args or None in named:
            return node
        return ast.Dict([ast.Constant(name) for name in named], list(named.values()))


def _apply(cfg: Config, options: dict[str, Any]) -> None:
    for key, value in options.items():
        top, _, path = key.partition('.')
        name, _, setting = path.partition('.')
        if top == 'sources' and setting and name not in (known := list(cfg.get('sources', {}))):
            raise ConfigError(f"--cfg-options: unknown source '{name}'; the sources are {known}")
        cfg.merge_from_dict({key: value})
