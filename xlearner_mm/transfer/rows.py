"""The row of a backbone in the report of a suite: its unique name, and the results on disk that it is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.errors import ConfigError
from xlearner_mm.report.report import REPORT_LOCK, read_report
from xlearner_mm.report.results import ResultError
from xlearner_mm.report.rows import Backbone, Budget, Row, Upstream, make_row, make_score
from xlearner_mm.tasks import METRICS
from xlearner_mm.transfer.protocol import Protocol, TransferSet
from xlearner_mm.typed_json import from_json, to_json

RANDOM_START = Backbone('the random start', None)
NAMES_FILE = 'row_names.json'
"""File in a work directory with the folder, name and backbone of every row."""
SUITE_FILE = 'suite.json'
"""File in a work directory with the suite whose results it holds."""
RESULT_FILE = 'result.json'
"""File in the work directory of a finished transfer."""


@dataclass(frozen=True)
class _Claim:
    folder: str
    name: str
    backbone: Backbone


def row_name(checkpoint: str, branch: str | None = None) -> str:
    """Return the default name of a checkpoint's row: its stem, or its folder's if the stem is generic.

    Args:
        checkpoint: a path or an address.
        branch: the branch that is transferred alone, appended to the name. Defaults to None.
    """
    path = Path(checkpoint)
    stem = path.stem if path.suffix and not path.is_dir() else path.name
    generic = stem in ('backbone', 'last', 'latest') or stem.startswith(('iter_', 'epoch_', 'best_'))
    use_folder = stem != path.name and generic
    return (path.absolute().parent.name if use_folder else stem) + (f'-{branch}' if branch else '')


def claim_suite(work_dir: Path, folder: Path) -> None:
    """Reserve a work directory for one suite: sets of another one with the same names would replace its results.

    Args:
        work_dir: created if missing.
        folder: of the suite's configs.

    Raises:
        ConfigError: it holds the results of another suite.
        ResultError: a damaged ``suite.json``.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    path, own = work_dir / SUITE_FILE, str(folder)
    with FileLock(work_dir / REPORT_LOCK):
        owner = _read(path, str, 'delete it')
        if owner is None:
            atomic_write_text(path, json.dumps(own) + '\n')
        elif owner != own:
            raise ConfigError(
                f'{work_dir} holds the results of suite {owner}, not of {own}: choose another --work-dir, or delete '
                f'{path} if that is the same suite, moved'
            )


def claim_name(work_dir: Path, backbone: Backbone, protocol: Protocol, default: str, wanted: str | None = None) -> str:
    """Reserve the name of a backbone's row in a work directory, and return it; safe for concurrent processes.

    A name belongs to another backbone as long as its folder exists or its row is in the report.

    Args:
        work_dir: parent of all rows' folders, created if missing.
        backbone: of the row.
        protocol: by which it is judged; its suffix is part of the folder's name.
        default: name to use, with the digest appended if it belongs to another backbone.
        wanted: name that must be used instead. Defaults to None.

    Raises:
        ConfigError: the name belongs to another backbone, or cannot be a folder's.
        ResultError: a damaged ``report.json`` or ``row_names.json``.
    """
    if wanted is not None and (Path(wanted).name != wanted or wanted in ('', '..')):
        raise ConfigError(f"--name '{wanted}' cannot name a folder: use a name without slashes")
    work_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(work_dir / REPORT_LOCK):
        stored = _read(work_dir / NAMES_FILE, list[_Claim], 'move it away to start a new one') or []
        claims = [claim for claim in stored if (work_dir / claim.folder).is_dir()]
        rows = read_report(work_dir).rows
        reported = [_Claim(row.method, row.method, row.backbone) for row in rows if row.backbone]
        for name in [wanted] if wanted else [default, f'{default}-{backbone.digest}']:
            claim = _Claim(name + protocol.suffix, name, backbone)
            owner = _owner([*claims, *reported], claim)
            if owner is None:
                (work_dir / claim.folder).mkdir(exist_ok=True)  # before the first transfer: it marks the claim as valid
                atomic_write_text(work_dir / NAMES_FILE, json.dumps(to_json([*claims, claim]), indent=1) + '\n')
                return name
    raise ConfigError(f"'{name}' in {work_dir} is the row of {owner}, not of {backbone}: choose another --name")


def _owner(claims: Sequence[_Claim], wanted: _Claim) -> Backbone | None:
    """Return the backbone of another row with this name or folder."""
    for claim in claims:
        shared = claim.name == wanted.name or claim.folder == wanted.folder
        if shared and (claim.name, claim.backbone) != (wanted.name, wanted.backbone):
            return claim.backbone
    return None


@dataclass(frozen=True)
class Tried:
    """A penalty of logistic regression, and its results on the validation split.

    Args:
        C: scikit-learn's inverse strength of the penalty.
        value: the metric, in percent.
        loss: mean cross-entropy, in nats.
    """

    C: float
    value: float
    loss: float


@dataclass(frozen=True)
class ProbeRecord:
    """Provenance of a probe's result; all fields from ``validation`` on are those of ``lbfgs``.

    Args:
        probe: of :data:`~xlearner_mm.transfer.protocol.PROBES`.
        training_images: number of images.
        test_images: number of images. Defaults to 0: not yet tested.
        validation: description of the validation split.
        validation_images: number of images.
        C: the chosen penalty.
        curve: all penalties tried, in order.
        iterations: of L-BFGS.
        converged: whether L-BFGS converged.
    """

    probe: str
    training_images: int
    test_images: int = 0
    validation: str | None = None
    validation_images: int | None = None
    C: float | None = None
    curve: list[Tried] = field(default_factory=list)
    iterations: int | None = None
    converged: bool | None = None


@dataclass(frozen=True)
class SetResult:
    """The result of one transfer.

    Args:
        metrics: of the test split.
        checkpoint: of the backbone; None for the random start.
        sha256: of the checkpoint.
        backbone_parameters: number of learnable values.
        backbone_flops: multiply-adds for one image of 224 x 224.
        probe: provenance of a probe. Defaults to None: trained by the stock runner.
    """

    metrics: dict[str, float]
    checkpoint: str | None
    sha256: str | None
    backbone_parameters: int
    backbone_flops: int
    probe: ProbeRecord | None = None


def write_result(folder: Path, result: SetResult) -> None:
    """Write the result of a transfer into its work directory, atomically and as the last file."""
    atomic_write_text(folder / RESULT_FILE, json.dumps(to_json(result), indent=1) + '\n')


def read_result(folder: Path) -> SetResult | None:
    """Return the result of a transfer; None if it is not finished.

    Raises:
        ResultError: a damaged file.
    """
    return _read(folder / RESULT_FILE, SetResult, 'delete it and repeat the transfer')


def _read(path: Path, kind: Any, fix: str) -> Any:
    if not path.is_file():
        return None
    try:
        return from_json(kind, json.loads(path.read_text(encoding='utf-8')))
    except ValueError as error:
        raise ResultError(f'{path} is damaged: {error}; {fix}') from error


def suite_row(
    name: str,
    work_dir: Path,
    sets: Sequence[TransferSet],
    protocol: Protocol,
    backbone: Backbone,
    seconds: Mapping[str, float] | None = None,
    upstream: Upstream | None = None,
    budget: Budget | None = None,
) -> Row:
    """Return the row of a report; sets without a finished transfer have no value.

    Args:
        name: of the row; its transfers are in ``work_dir/<name><protocol's suffix>``.
        work_dir: parent of all rows' folders.
        sets: all sets of the suite, including those that were not run this time.
        protocol: by which the backbone is judged. All finished seeds of a set count, whatever its ``seeds``.
        backbone: of the row; results of another one, from an earlier call, are ignored.
        seconds: job -> duration. Defaults to unknown.
        upstream: scores on its own sources. Defaults to none.
        budget: its training cost. Defaults to unknown.

    Raises:
        ResultError: a transfer without the set's metric, or no finished transfer.
    """
    found = {entry.name: _results(work_dir / (name + protocol.suffix), entry, backbone) for entry in sets}
    first = next((result for results in found.values() for result in results.values()), None)
    if first is None:
        raise ResultError(f"no transfer of '{name}' in {work_dir} is finished: see the logs there")
    numbers = {len(results) for results in found.values() if results}
    scores = {}
    for entry in sets:
        values = [_value(entry, result) for result in found[entry.name].values()]
        scores[entry.name] = make_score(entry.task, entry.metric.key, values, entry.extra, list(found[entry.name]))
    return make_row(
        name,
        scores,
        upstream=upstream,
        params_m=round(first.backbone_parameters / 1e6, 4),
        flops_g=round(first.backbone_flops / 1e9, 4),
        seconds=None if seconds is None else round(sum(seconds.values()), 1),
        budget=budget,
        protocol=protocol.of_row(min(numbers) if len(numbers) == 1 else f'{min(numbers)}-{max(numbers)}'),
        backbone=backbone,
    )


def _results(row: Path, entry: TransferSet, backbone: Backbone) -> dict[int, SetResult]:
    """Return seed -> result of a backbone's transfers, of all finished seeds of any call."""
    seeds = sorted(int(path.name.removeprefix('seed_')) for path in (row / entry.config.stem).glob('seed_*'))
    results = {seed: read_result(entry.folder(row, seed)) for seed in seeds}
    return {seed: result for seed, result in results.items() if result and result.sha256 == backbone.sha256}


def _value(entry: TransferSet, result: SetResult) -> float:
    key, metrics = entry.metric.key, result.metrics
    evaluators = {name.partition('/')[0] for name in METRICS if '/' in name}
    if entry.task == 'det' and not any(name.partition('/')[0] in evaluators for name in metrics):
        return 0.0  # stock detection metrics return nothing if there are no detections
    if key not in metrics:
        raise ResultError(
            f"the transfer to '{entry.name}' has no metric '{key}', but {sorted(metrics)}: set primary_metric in "
            f'{entry.config} to one of {sorted(METRICS)}'
        )
    return float(metrics[key]) * entry.metric.scale
