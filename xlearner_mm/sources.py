"""What a *source* is: one dataset, the labels of one task, and all that belongs to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from xlearner_mm.errors import SourceError, refuse_unknown

POLICIES = ('error', 'skip')


@dataclass(frozen=True)
class BadData:
    """A source's policy for bad images: unreadable, truncated, or with labels that cannot be theirs.

    Args:
        policy: ``'error'`` ends the training at the first one. ``'skip'`` trains on the next readable image of the
            source's own order in its place; each bad image is logged, counted and listed in
            ``<work_dir>/bad_images.txt``. Validation never skips: a metric of fewer images is another metric. Defaults
            to ``'error'``.
        max_share: with ``'skip'``, the share of the source's images that may be bad, from 0 to below 1; beyond it the
            training ends. Defaults to 0.01.

    Raises:
        SourceError: by :meth:`parse`, for an unknown setting or an impossible value.
    """

    policy: str = 'error'
    max_share: float = 0.01

    @classmethod
    def parse(cls, source: str, settings: Mapping[str, Any] | BadData) -> BadData:
        """Check the settings that a config gives."""
        if isinstance(settings, BadData):
            return settings
        if not isinstance(settings, Mapping):
            raise SourceError(f"source '{source}': bad_data must be a dict of settings, got {settings!r}")
        refuse_unknown(f"source '{source}': bad_data", settings, {f.name for f in fields(cls)}, SourceError)
        parsed = cls(**settings)
        if parsed.policy not in POLICIES:
            raise SourceError(f"source '{source}': bad_data.policy is '{parsed.policy}', choose from {POLICIES}")
        if not isinstance(parsed.max_share, (int, float)) or not 0 <= parsed.max_share < 1:
            raise SourceError(
                f"source '{source}': bad_data.max_share must be from 0 to below 1, got {parsed.max_share!r}"
            )
        return parsed

    @property
    def skips(self) -> bool:
        """Whether training goes on without bad images."""
        return self.policy == 'skip'

    def refuse_more(self, source: str, bad: dict[str, str], images: int) -> None:
        """End a training whose source has more bad images than it may.

        Args:
            source: the source's name.
            bad: path -> reason of the bad images known so far.
            images: all images of the source, the bad ones among them.

        Raises:
            SourceError: they are more; the message names the last of them.
        """
        if len(bad) > self.max_share * images:
            path, reason = next(reversed(bad.items()))
            raise SourceError(
                f"source '{source}': {len(bad):,} of {images:,} images are bad, more than bad_data.max_share="
                f'{self.max_share}; the last is {path}: it {reason}'
            )


DECLARED = ('images', 'picture')
"""What may be declared of a data set whose files are not there."""


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
        loss_weight: factor on every loss of this source, hints included: what it counts beside the other sources of its
            branch. It is a learning rate under plain SGD only, and there only as far as gradients are not clipped;
            Adam and its like divide it out again, so a branch's rate is set by ``optim_wrapper``. Defaults to 1.
        val_dataloader: a stock dataloader config for validation, or None for no validation.
        val_evaluator: stock metric config(s) for validation.
        primary_metric: the metric that stands for the source in aggregates, e.g. ``'coco/bbox_mAP'``.
        primary_scale: factor that brings ``primary_metric`` to percent. Defaults to 1.
        bad_data: what to do with images that cannot be trained on, as a dict of
            :class:`~xlearner_mm.sources.BadData`'s settings. Defaults to ``dict(policy='error')``.
        strict_paths: refuse file names in annotations that lead out of the dataset's ``data_root`` and
            ``data_prefix``. Defaults to False.
        declared: what a dry run goes by where the dataset's files are not there: ``images``, how many it has, and
            ``picture``, the usual width and height of them. Defaults to none.

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
    bad_data: BadData = field(default_factory=BadData)
    strict_paths: bool = False
    declared: Mapping[str, Any] = field(default_factory=dict)

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
        if not isinstance(self.loss_weight, (int, float)) or not 0 <= self.loss_weight < float('inf'):
            raise SourceError(
                f"source '{self.name}': loss_weight must be a number that is not negative, got {self.loss_weight!r}"
            )
        if not isinstance(self.strict_paths, bool):
            raise SourceError(f"source '{self.name}': strict_paths must be True or False, got {self.strict_paths!r}")
        if (self.val_dataloader is None) != (self.val_evaluator is None):
            raise SourceError(
                f"source '{self.name}': val_dataloader and val_evaluator go together; give both or neither"
            )
        refuse_unknown(f"source '{self.name}': declared", self.declared, DECLARED, SourceError)

    @property
    def head_classes(self) -> int | None:
        """Classes of the network's head, the largest number if it has several; None without a head."""
        found = [value for _, value in settings_named('num_classes', self.network) if isinstance(value, int)]
        return max(found, default=None)


def settings_named(wanted: str, settings: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Find a setting anywhere within dicts and lists.

    Args:
        wanted: its name.
        settings: where to look.
        path: what the paths of findings begin with. Defaults to ''.

    Yields:
        Path and value of each, like ``('head.num_classes', 10)``.
    """
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            here = f'{path}.{key}' if path else str(key)
            yield from [(here, value)] if key == wanted else settings_named(wanted, value, here)
    elif isinstance(settings, (list, tuple)):
        for number, value in enumerate(settings):
            yield from settings_named(wanted, value, f'{path}[{number}]')


def parse_sources(sources: Mapping[str, Any] | None) -> dict[str, Source]:
    """Check a config's ``sources`` and return them by name, in the order given.

    Args:
        sources: source name -> settings, see :class:`Source`.

    Raises:
        SourceError: None, as a component gets of a config that another runner than ours builds; no source; a setting
            that is missing or unknown (the nearest known one is
            suggested), or one that :class:`Source` refuses.
    """
    if sources is None:
        raise SourceError(
            'no `sources` given: a config that lists its sources at top level is built by tools/train.py or '
            "xlearner_mm.XLearnerRunner.from_cfg, not by MMEngine's Runner.from_cfg"
        )
    if not sources:
        raise SourceError('`sources` is empty: give at least one source')
    return {name: _parse_one(name, settings) for name, settings in sources.items()}


def _parse_one(name: str, settings: Any) -> Source:
    if isinstance(settings, Source):
        return settings
    if not isinstance(settings, Mapping):
        raise SourceError(f"source '{name}': expected a dict of settings, got {settings!r}")
    known = {f.name for f in fields(Source)} - {'name'}
    refuse_unknown(f"source '{name}'", settings, known, SourceError)
    missing = {'task', 'dataset', 'batch_size'} - set(settings)
    if missing:
        raise SourceError(f"source '{name}': missing setting(s) {sorted(missing)}")
    bad_data = BadData.parse(name, settings.get('bad_data', {}))
    return Source(name=name, **{**settings, 'bad_data': bad_data})
