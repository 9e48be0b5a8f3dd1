"""One transfer: a backbone to one set, by the stock runner or by a probe of cached features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.config.unknown_setting import explained
from xlearner_mm.engine.launch import launch
from xlearner_mm.errors import print_error
from xlearner_mm.export.start import count_parameters, read_start
from xlearner_mm.flops import image_flops
from xlearner_mm.registry import MODELS
from xlearner_mm.report.results import read_results
from xlearner_mm.transfer.probing.run import run_probe
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.rows import SetResult, write_result
from xlearner_mm.transfer.set_config import is_frozen, set_config

_EXPLAINED = (FileNotFoundError, ValueError, RuntimeError, AssertionError)


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
    log: Sequence[str] = (),
) -> int:
    """Transfer a backbone to one set, and write ``result.json`` into the work directory.

    Args:
        config: of the set.
        folder: the work directory.
        checkpoint: with the backbone; None is the random start.
        protocol: by which it is judged.
        seed: of all randomness. Defaults to 0.
        name: of the set, for its data fraction. Defaults to the config's own.
        branch: of an expansion checkpoint. Defaults to its only one, or all of several, with their links.
        features: folder of cached features. Defaults to None: ``features`` in the work directory.
        options: ``KEY=VALUE`` overrides of the config. Defaults to none.
        resume: continue from the latest checkpoint in the work directory. Defaults to False.
        log: trackers to log to, of :data:`~xlearner_mm.engine.loggers.LOGGERS`; a probe logs nothing. Defaults to none.

    Returns:
        The exit status: 0, or 1 after bad input.
    """
    cfg = record = None
    try:
        start = None if checkpoint is None else read_start(checkpoint, branch)
        cfg = set_config(config, folder, start, protocol, seed, name, options)
        path = folder / config.name
        atomic_write_text(path, cfg.pretty_text)
        if protocol.probe != 'sgd' and cfg.default_scope == 'mmpretrain' and is_frozen(cfg):
            weights = f'random {seed}' if start is None else f'{start.sha256} {start.prefix}'
            metrics, record = run_probe(cfg, folder, features or folder / 'features', weights, protocol.probe, seed)
        else:
            status = launch('train', str(path), str(folder), resume='auto' if resume else None, log=log)
            if status:
                return status
            metrics = read_results(folder).metrics()
    except Exception as raised:
        error = explained(raised, cfg)
        if not isinstance(error, _EXPLAINED):
            raise
        return print_error(error)
    backbone = MODELS.build({**cfg.model.backbone.to_dict(), 'init_cfg': None})
    parameters = start.parameters if start else count_parameters(backbone.state_dict())
    checkpoint, sha256 = (start.checkpoint, start.sha256) if start else (None, None)
    write_result(folder, SetResult(metrics, checkpoint, sha256, parameters, image_flops(backbone), record))
    return 0
