"""One transfer: a backbone to one set, by its stock runner or by a probe of cached features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlearner_mm.config.unknown_setting import explained
from xlearner_mm.engine.launch import launch
from xlearner_mm.errors import ConfigError, print_error
from xlearner_mm.export.start import Start, count_parameters, read_start
from xlearner_mm.flops import image_flops
from xlearner_mm.registry import MODELS
from xlearner_mm.report.results import read_results
from xlearner_mm.transfer.probing.run import run_probe
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.set_config import is_frozen, set_config, write_config
from xlearner_mm.transfer.suite_row import write_result

_EXPLAINED = (ConfigError, FileNotFoundError, ValueError, RuntimeError, AssertionError)


def transfer_to_set(
    config: Path,
    folder: Path,
    checkpoint: str | None,
    protocol: Protocol,
    seed: int = 0,
    name: str = '',
    branch: str | None = None,
    features: Path | None = None,
    options: Sequence[str] = (),
    resume: bool = False,
) -> int:
    """Transfer a backbone to one set, and leave ``result.json`` in the work directory.

    Args:
        config: of the set.
        folder: the work directory.
        checkpoint: what holds the backbone; None is the random start.
        protocol: how it is judged.
        seed: of everything that is drawn. Defaults to 0.
        name: of the set, for its data fraction. Defaults to the config's own.
        branch: of an expansion checkpoint. Defaults to its only one, or all of several, with their links.
        features: folder of cached features. Defaults to None: ``features`` in the work directory.
        options: ``KEY=VALUE`` overrides of the config. Defaults to none.
        resume: go on from the latest checkpoint in the work directory. Defaults to False.

    Returns:
        The exit status: 0, or 1 after bad input.
    """
    cfg = None
    try:
        start = None if checkpoint is None else read_start(checkpoint, branch)
        cfg = set_config(config, folder, start, protocol, seed, name, options)
        path = write_config(cfg, folder, config.name)
        if _is_probed(cfg, protocol):
            weights = f'random {seed}' if start is None else f'{start.sha256} {start.prefix}'
            result = run_probe(cfg, folder, features or folder / 'features', weights, protocol.probe, seed)
        else:
            status = launch('train', str(path), str(folder), resume='auto' if resume else None)
            if status:
                return status
            result = {'metrics': read_results(folder).metrics()}
    except Exception as raised:
        error = explained(raised, cfg)
        if not isinstance(error, _EXPLAINED):
            raise
        return print_error(error)
    write_result(folder, {**result, **_of_the_backbone(cfg.model.backbone.to_dict(), start)})
    return 0


def _is_probed(cfg: Any, protocol: Protocol) -> bool:
    return protocol.probe != 'sgd' and cfg.default_scope == 'mmpretrain' and is_frozen(cfg)


def _of_the_backbone(backbone: dict[str, Any], start: Start | None) -> dict[str, Any]:
    built = MODELS.build({**backbone, 'init_cfg': None})
    return {
        'checkpoint': start.checkpoint if start else None,
        'sha256': start.sha256 if start else None,
        'backbone_parameters': start.parameters if start else count_parameters(built.state_dict()),
        'backbone_flops': image_flops(built),
    }
