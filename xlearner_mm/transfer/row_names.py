"""Whose a row of a report is: its name and folder belong to one backbone, and no other takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.errors import ConfigError
from xlearner_mm.report.report import REPORT_LOCK, read_report
from xlearner_mm.transfer.protocol import Protocol

NAMES_FILE = 'row_names.json'
"""In a work directory: which folder holds which row's transfers, and whose they are."""
_TRAINING = ('iter_', 'epoch_', 'best_')


@dataclass(frozen=True)
class Backbone:
    """What a row is of; two are one where digest and branch are.

    Args:
        checkpoint: the file, for messages.
        sha256: of the file; None is the random start.
        branch: of an expansion checkpoint, the one that is transferred alone. Defaults to None.
    """

    checkpoint: str = field(compare=False)
    sha256: str | None
    branch: str | None = None

    @property
    def digest(self) -> str:
        """The first digits of the SHA-256; ``'random'`` of the random start."""
        return self.sha256[:8] if self.sha256 else 'random'

    def __str__(self) -> str:
        branch = f', branch {self.branch}' if self.branch else ''
        return f'{self.checkpoint} (sha256 {self.digest}{branch})' if self.sha256 else self.checkpoint


RANDOM_START = Backbone('the random start', None)


@dataclass(frozen=True)
class _Claim:
    folder: str
    name: str
    backbone: Backbone


def row_name(checkpoint: str, branch: str | None = None) -> str:
    """Return a name for a checkpoint's row: its stem, or its folder's where the stem says nothing.

    Args:
        checkpoint: a path or an address.
        branch: the one that is transferred alone, which the name ends with. Defaults to None.
    """
    path = Path(checkpoint)
    stem = path.stem if path.suffix and not path.is_dir() else path.name
    said_nothing = stem != path.name and (stem in ('backbone', 'last', 'latest') or stem.startswith(_TRAINING))
    return (path.absolute().parent.name if said_nothing else stem) + (f'-{branch}' if branch else '')


def claim_name(work_dir: Path, backbone: Backbone, protocol: Protocol, default: str, wanted: str | None = None) -> str:
    """Return the name of a backbone's row, which from now on is no other's in this work directory.

    A name is another's as long as that one's folder is there, or a row of it in the report. Several processes may do
    this at once: they wait for each other.

    Args:
        work_dir: parent of all rows' folders; made where it is missing.
        backbone: whose row it is.
        protocol: how it is judged: its suffix is part of the folder's name.
        default: the name; where it is another's, the digest is appended to it.
        wanted: a name that is to be this one and no other. Defaults to None: ``default``.

    Raises:
        ConfigError: the name is another backbone's, or cannot name a folder.
        ResultError: the folder's ``report.json`` is not one of ours.
    """
    if wanted is not None and (Path(wanted).name != wanted or wanted in ('', '..')):
        raise ConfigError(f"--name '{wanted}' cannot name a folder: give one without slashes")
    work_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(work_dir / REPORT_LOCK):
        recorded = _recorded(work_dir)
        for name in [wanted] if wanted else [default, f'{default}-{backbone.digest}']:
            claim = _Claim(name + protocol.suffix, name, backbone)
            owner = _owner([*recorded, *_reported(work_dir)], claim)
            if owner is None:
                _record(work_dir, [*recorded, claim])
                return name
    raise ConfigError(
        f"'{name}' in {work_dir} is the row of {owner}, not of {backbone}: give this one a --name of its own"
    )


def _owner(claims: Sequence[_Claim], wanted: _Claim) -> Backbone | None:
    """Return the other backbone, or the same under another name, that has the name or the folder."""
    for claim in claims:
        shared = claim.name == wanted.name or claim.folder == wanted.folder
        if shared and (claim.name, claim.backbone) != (wanted.name, wanted.backbone):
            return claim.backbone
    return None


def _recorded(work_dir: Path) -> list[_Claim]:
    """Return whose the folders are; one that has been deleted is nobody's."""
    path = work_dir / NAMES_FILE
    content = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    return [
        _Claim(folder, claim['name'], Backbone(**claim['backbone']))
        for folder, claim in content.items()
        if (work_dir / folder).is_dir()
    ]


def _reported(work_dir: Path) -> list[_Claim]:
    """Return whose the report's rows are, those of trainings that run here by themselves among them."""
    rows = [row for row in read_report(work_dir).rows if 'backbone' in row]
    return [_Claim(row['method'], row['method'], Backbone(**row['backbone'])) for row in rows]


def _record(work_dir: Path, claims: Sequence[_Claim]) -> None:
    (work_dir / claims[-1].folder).mkdir(exist_ok=True)  # from now on: another call may come before the first transfer
    plain = {claim.folder: {'name': claim.name, 'backbone': asdict(claim.backbone)} for claim in claims}
    atomic_write_text(work_dir / NAMES_FILE, json.dumps(plain, indent=1) + '\n')
