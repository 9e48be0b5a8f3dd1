"""Facts about a published backbone that its checkpoint does not hold: those in the work directory of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xlearner_mm.checkpoint import description_of, holds_ema, read_checkpoint
from xlearner_mm.config.options import read_literally
from xlearner_mm.engine.hooks.run_record_hook import read_starts
from xlearner_mm.report.results import ResultError, read_upstream
from xlearner_mm.report.rows import Upstream


@dataclass
class Facts:
    """Facts of a backbone's training beyond the metadata of its file.

    Args:
        scores: validation scores of its sources. Defaults to none.
        datasets: source -> type of its dataset. Defaults to none.
        images: source -> number of training images. Defaults to none.
        versions: library -> version. Defaults to none.
        missing: what is not known, and why. Defaults to nothing.
    """

    scores: Upstream = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def read_facts(path: str, meta: Mapping[str, Any]) -> Facts:
    """Read what the work directory of a checkpoint says about it, without executing anything in it.

    Args:
        path: the checkpoint.
        meta: metadata of the export.
    """
    facts, folder = Facts(), Path(path).parent
    content = read_checkpoint(path)
    if 'exported_from' in content.get('meta', {}):
        facts.missing.append('scores, datasets and versions: the card was written from an export, not from a training')
        return facts
    sources = _listed_sources(folder, meta['sources'])
    facts.datasets = {name: _type_name(source['dataset']) for name, source in sources.items()}
    if not sources:
        facts.missing.append('datasets and scores: the folder of the checkpoint has no config with its sources')
    starts = read_starts(folder)
    if starts:
        facts.images = {name: starts[-1]['data'][name]['images'] for name in meta['sources']}
        facts.versions = starts[-1]['versions']
    else:
        facts.missing.append('numbers of images, and versions: the folder of the checkpoint has no run.json')
    description = description_of(content)
    branches = description['backbone'].get('branches', {}) if description else {}
    if meta['branch'] is not None and len(branches) > 1:
        facts.missing.append('scores: the branch was validated with its links, which it is published without')
    elif holds_ema(content) and not meta['ema']:
        facts.missing.append('scores: the moving average of the weights was validated, which these are not')
    elif sources:
        try:
            facts.scores = read_upstream(folder, sources, meta['iterations'])
        except ResultError:
            facts.missing.append(f'scores: no validation after step {meta["iterations"]} is in the logs')
    return facts


def _listed_sources(folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sources in the config that MMEngine has written to a work directory, if it is there."""
    found = [settings.get('sources') for settings in map(read_literally, sorted(folder.glob('*.py')))]
    listed = [sources for sources in found if isinstance(sources, dict) and sources.keys() >= wanted.keys()]
    return {name: listed[0][name] for name in wanted} if listed else {}


def _type_name(dataset: Mapping[str, Any]) -> str:
    return '.'.join(filter(None, [dataset.get('_scope_'), str(dataset.get('type'))]))
