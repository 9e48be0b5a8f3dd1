"""What a *source* is: one dataset, the labels of one task, and all that belongs to it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class SourceError(ValueError):
    """A source whose settings cannot work; the message names the source and the fix."""


@dataclass(frozen=True)
class Source:
    """The settings of one source, checked.

    A config file under ``configs/_base_/sources/`` holds one such dict. The dataset, the sampler, the learner
    and the evaluator are all given the same dict of sources, and each reads its own part.

    Args:
        name: the source's name; prefixes its losses (``<source>.<loss>``) and metrics (``<source>/<metric>``).
        task: the task its labels are for (``'cls'``, ``'det'``, ``'seg'``, ...).
        dataset: config of an unmodified dataset class, with the ``_scope_`` of its library.
        batch_size: images per training step and process.
        network: config of a stock network with its head and data preprocessor; its ``backbone`` is replaced
            by the task's port.
        loss_weight: factor on every loss of this source. Defaults to 1.
        val_dataloader: a stock dataloader config for validation, or None for no validation.
        val_evaluator: stock metric config(s) for validation.
        primary_metric: the metric that stands for the source in aggregates, e.g. ``'coco/bbox_mAP'``.
        primary_scale: factor that brings ``primary_metric`` to percent. Defaults to 1.

    Raises:
        SourceError: a missing, unknown or impossible setting.
    """

    name: str
    task: str
    dataset: Mapping[str, Any]
    batch_size: int
    network: Mapping[str, Any] = field(default_factory=dict)
    loss_weight: float = 1.0
    val_dataloader: Mapping[str, Any] | None = None
    val_evaluator: Any = None
    primary_metric: str | None = None
    primary_scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or 'loss' in self.name or '__' in self.name:
            # mmengine adds up every log key that contains 'loss': a source's name must not.
            raise SourceError(
                f"source '{self.name}': the name must be an identifier without 'loss' and '__' in it, "
                'because it prefixes loss and metric names'
            )
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise SourceError(
                f"source '{self.name}': batch_size must be a whole number of at least 1, got "
                f'{self.batch_size!r}; leave the source out of `sources` if it should not be trained on'
            )
        if self.loss_weight < 0:
            raise SourceError(f"source '{self.name}': loss_weight must not be negative, got {self.loss_weight}")
        if (self.val_dataloader is None) != (self.val_evaluator is None):
            raise SourceError(
                f"source '{self.name}': val_dataloader and val_evaluator go together; give both or neither"
            )


def parse_sources(sources: Mapping[str, Any]) -> dict[str, Source]:
    """Check a config's ``sources`` and return them by name, in the order given.

    Args:
        sources: source name -> settings, see :class:`Source`.

    Raises:
        SourceError: no source at all, a setting that is missing or unknown (the nearest known one is
            suggested), or one that :class:`Source` refuses.
    """
    if not sources:
        raise SourceError('`sources` is empty: give at least one source')
    return {name: _parse_one(name, settings) for name, settings in sources.items()}


def _parse_one(name: str, settings: Any) -> Source:
    if isinstance(settings, Source):
        return settings
    if not isinstance(settings, Mapping):
        raise SourceError(f"source '{name}': expected a dict of settings, got {settings!r}")
    known = {f.name for f in fields(Source)} - {'name'}
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f'; known settings: {sorted(known)}'
            raise SourceError(f"source '{name}': unknown setting '{key}'{hint}")
    missing = {'task', 'dataset', 'batch_size'} - set(settings)
    if missing:
        raise SourceError(f"source '{name}': missing setting(s) {sorted(missing)}")
    return Source(name=name, **settings)
