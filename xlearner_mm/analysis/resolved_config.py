"""The settings that a training is built from, as a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from xlearner_mm.config.options import load_config
from xlearner_mm.engine.schedule import keep_recipe
from xlearner_mm.errors import USER_ERRORS, print_error
from xlearner_mm.sources import Source, with_sources


def print_config(config: str, options: Sequence[str] = (), raw: bool = False, world_size: int = 1) -> int:
    """Print a config as a training gets it; bad input ends in one line.

    Args:
        config: path of a text config.
        options: ``KEY=VALUE`` overrides. Defaults to none.
        raw: print it before the runner completes it. Defaults to False.
        world_size: number of processes, for configs with ``images_per_step``. Defaults to 1.

    Returns:
        The exit status.
    """
    try:
        cfg = load_config(config, None, options, 'none')
        # A formatted text takes seconds, so that reading a config leaves it out.
        print(Config(cfg.to_dict() if raw else resolve(cfg, world_size)).pretty_text.rstrip())
    except USER_ERRORS as error:
        return print_error(error)
    return 0


def resolve(cfg: Config, world_size: int = 1) -> dict[str, Any]:
    """Return the settings that ``XLearnerRunner.from_cfg`` builds a training from.

    Each component has its sources, and the loader its batch size; top-level ``sources`` are left out, so that the
    result is a config of the same training. ``auto_scale_lr`` scales rate and length later, as a dry run reports.

    Args:
        cfg: a config as read from its file; left unchanged.
        world_size: number of processes. Defaults to 1.

    Raises:
        ConfigError: settings that contradict each other, see :func:`~xlearner_mm.engine.schedule.keep_recipe`.
        SourceError: a source with a missing, unknown or impossible setting.
    """
    cfg = Config(cfg.to_dict(), filename=cfg.filename, format_python_code=False)
    keep_recipe(cfg, world_size)
    settings = cfg.to_dict()
    filled = with_sources(settings)
    if filled == settings:
        return settings
    listed = filled.pop('sources')
    return {key: _written(value, listed) for key, value in filled.items()}


def _written(value: Any, listed: Mapping[str, Any]) -> Any:
    """Replace parsed sources by their settings."""
    if isinstance(value, Source):
        return listed[value.name]
    if isinstance(value, Mapping):
        return {key: _written(item, listed) for key, item in value.items()}
    return type(value)(_written(item, listed) for item in value) if isinstance(value, list | tuple) else value
