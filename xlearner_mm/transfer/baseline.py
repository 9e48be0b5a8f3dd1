"""Published backbones that a user would compare with, as configs of ``tools/transfer.py``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from xlearner_mm.datasets.source import SourceError
from xlearner_mm.engine.config_options import read_config
from xlearner_mm.nearest_name import nearest
from xlearner_mm.transfer.checkpoint import CheckpointError, resolve_checkpoint
from xlearner_mm.transfer.paper import paper_rows


@dataclass(frozen=True)
class Baseline:
    """A published backbone, as a config in ``configs/transfer/baselines`` describes it.

    Args:
        checkpoint: the file as published, or its address.
        name: of its row.
        paper: rows of the slides to set beside. Defaults to none.
    """

    checkpoint: str
    name: str
    paper: tuple[str, ...] = ()

    @classmethod
    def read(cls, config: str | Path) -> Baseline:
        """Return what a config describes.

        Args:
            config: a Python config that sets ``checkpoint`` and ``name``.

        Raises:
            SourceError: it sets something else, or its checkpoint is not there.
            ValueError: the slides have no such row.
        """
        settings = read_config(str(config)).to_dict()
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise SourceError(f"{config}: a baseline has no setting '{name}'{nearest(name, known)}")
        missing = [name for name in known[:2] if not settings.get(name)]
        if missing:
            raise SourceError(f'{config}: a baseline needs {" and ".join(missing)}')
        paper_rows(settings.get('paper', []))
        baseline = cls(settings['checkpoint'], settings['name'], tuple(settings.get('paper', ())))
        try:
            resolve_checkpoint(baseline.checkpoint)
        except CheckpointError as error:
            raise SourceError(
                f"{config}: there is no {baseline.checkpoint}: put the published file there, or change 'checkpoint'"
            ) from error
        return baseline
