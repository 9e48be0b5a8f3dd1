"""Sources: datasets with the labels of one task each, listed once in a config and shared by all its components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mmengine.config import Config
from torch import nn

from xlearner_mm.errors import ConfigError, SourceError, refuse_unknown
from xlearner_mm.nearest_name import settings_of
from xlearner_mm.registry import DATASETS, EVALUATOR, MODELS, Registry, type_of

POLICIES = ('error', 'skip')


@dataclass(frozen=True)
class BadData:
    """A source's policy for bad images: unreadable, truncated, or with impossible labels.

    Args:
        policy: ``'error'`` stops at the first bad image. ``'skip'`` trains on the next readable image of the source
            instead, and logs, counts and lists bad images in ``<work_dir>/bad_images.txt``; validation never skips.
            Defaults to ``'error'``.
        max_share: with ``'skip'``, the share of bad images, from 0 to below 1, beyond which training stops; of images
            drawn by ``data_fraction``, bad annotations count in proportion. Defaults to 0.01.
    """

    policy: str = 'error'
    max_share: float = 0.01

    @classmethod
    def parse(cls, source: str, settings: Mapping[str, Any] | BadData) -> BadData:
        """Check the settings of a config.

        Raises:
            SourceError: an unknown setting or an impossible value.
        """
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
        """True if bad images are skipped in training."""
        return self.policy == 'skip'

    def refuse_more(self, source: str, bad: dict[str, str], images: int, elsewhere: int = 0) -> None:
        """Refuse more bad images than ``max_share`` allows.

        Args:
            source: the source's name.
            bad: path -> reason of the bad images known so far.
            images: number of the images that are counted.
            elsewhere: number of the bad images that are not among these. Defaults to 0.

        Raises:
            SourceError: too many; the message names the last one.
        """
        count = len(bad) - elsewhere
        if count > self.max_share * images:
            path, reason = next(reversed(bad.items()))
            raise SourceError(
                f"source '{source}': {count:,} of {images:,} images are bad, more than bad_data.max_share="
                f'{self.max_share}; the last is {path}: it {reason}'
            )


DECLARED = ('images', 'picture')
"""Properties that may be declared for a dataset whose files are absent."""


@dataclass(frozen=True)
class Source:
    """The checked settings of one source; a file under ``configs/_base_/sources/`` holds one such dict.

    Args:
        name: prefix of the source's losses (``<source>.<loss>``) and metrics (``<source>/<metric>``).
        task: the task of its labels (``'cls'``, ``'det'``, ``'seg'``, ...).
        dataset: config of an unmodified dataset class, with the ``_scope_`` of its library.
        batch_size: images per training step and process.
        network: config of a stock network with its head and data preprocessor; its ``backbone`` is replaced
            by the task's port.
        loss_weight: factor on every loss of this source, hints included: its weight beside the other sources of its
            branch. Adam-like optimizers and gradient clipping divide it out where a branch has one source, so set a
            branch's learning rate in ``optim_wrapper``. Defaults to 1.
        val_dataloader: a stock dataloader config for validation, or None for no validation.
        val_evaluator: stock metric config(s) for validation.
        primary_metric: the source's metric in aggregates, e.g. ``'coco/bbox_mAP'``.
        primary_scale: factor from ``primary_metric`` to percent. Defaults to 1.
        bad_data: settings of :class:`~xlearner_mm.sources.BadData`. Defaults to ``dict(policy='error')``.
        strict_paths: refuse file names in annotations outside the dataset's ``data_root`` and ``data_prefix``.
            Defaults to False.
        data_fraction: share of the training images, drawn with the source's name as seed, of a classification source
            class by class; the smaller of two shares is a subset of the larger one. Defaults to 1.
        declared: for a dry run without the dataset's files: ``images``, their number, and ``picture``, the usual width
            and height. Defaults to none.

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
    data_fraction: float = 1.0
    declared: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if reason := unfit_name(self.name):
            raise SourceError(f"source '{self.name}': the name {reason}; rename the source")
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
        if not isinstance(self.data_fraction, (int, float)) or not 0 < self.data_fraction <= 1:
            raise SourceError(
                f"source '{self.name}': data_fraction must be above 0 and at most 1, got {self.data_fraction!r}"
            )
        if (self.val_dataloader is None) != (self.val_evaluator is None):
            raise SourceError(
                f"source '{self.name}': val_dataloader and val_evaluator go together; give both or neither"
            )
        refuse_unknown(f"source '{self.name}': declared", self.declared, DECLARED, SourceError)

    @property
    def head_classes(self) -> int | None:
        """The largest ``num_classes`` of the network's parts, or sum of things and stuff; None without any."""
        # mmpretrain's preprocessors have a `num_classes` too, for mixed labels.
        parts = {name: part for name, part in self.network.items() if name != 'data_preprocessor'}
        found = [value for _, value in settings_named('num_classes', parts) if isinstance(value, int)]
        stuff = [value for _, value in settings_named('num_stuff_classes', parts)]
        things = [value for _, value in settings_named('num_things_classes', parts)]
        return max([*found, *map(sum, zip(things, stuff, strict=False))], default=None)


def unfit_name(name: str) -> str:
    """Return why no source can have a name; empty if one can."""
    if not name.isidentifier() or 'loss' in name or '__' in name:
        # mmengine adds up every log key that contains 'loss': a source's name must not.
        return "must be an identifier without 'loss' and '__' in it, because it prefixes loss and metric names"
    if hasattr(nn.ModuleDict(), name):
        return 'is that of an attribute of torch.nn.ModuleDict, which holds the networks of the sources by name'
    return ''


def settings_named(wanted: str, settings: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Find a setting at any depth of dicts and lists.

    Args:
        wanted: its name.
        settings: where to look.
        path: prefix of the paths found. Defaults to ''.

    Yields:
        Path and value, like ``('head.num_classes', 10)``.
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
        sources: source name -> settings, see :class:`Source`, or sources parsed before.

    Raises:
        ConfigError: no sources; None, because MMEngine's own runner does not pass a config's sources on.
        SourceError: a setting that is missing, unknown or refused by :class:`Source`.
    """
    if sources is None:
        raise ConfigError(
            'no `sources` given: a config that lists its sources at top level is built by tools/train.py or '
            "xlearner_mm.XLearnerRunner.from_cfg, not by MMEngine's Runner.from_cfg"
        )
    if not sources:
        raise ConfigError('`sources` is empty: give at least one source')
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


_READERS: dict[str, Registry] = {
    'model': MODELS,
    'model.teacher.model': MODELS,
    'train_dataloader.dataset': DATASETS,
    'val_evaluator': EVALUATOR,
    'test_evaluator': EVALUATOR,
}
"""Components that take sources, and where they are registered."""


def with_sources(settings: Config | Mapping[str, Any]) -> dict[str, Any]:
    """Return a training's settings with its top-level `sources` parsed and handed to dataset, learner and evaluators.

    The loader's batch size becomes the sum of the sources' batch sizes. Components of a config without top-level
    `sources` keep those of their own.

    Args:
        settings: a config, or the arguments of a runner; left unchanged.

    Raises:
        ConfigError: a component with sources of its own beside those at top level, or see :func:`parse_sources`.
    """
    filled = dict(settings.items())
    found = filled.get('sources')
    if not isinstance(found, Mapping):
        return filled
    readers = [path for path, registry in _READERS.items() if _takes_sources(_at(filled, path), registry)]
    if not readers:
        return filled
    parsed = parse_sources(found)
    for path in readers:
        component = _at(filled, path)
        if 'sources' in component:
            raise ConfigError(
                f'the config lists sources at top level {list(parsed)} and in {path} {list(component["sources"])}: '
                f'list them at top level alone, and leave {path}.sources out'
            )
        filled = _replace(filled, path.split('.'), type(component)({**component, 'sources': parsed}))
    if 'train_dataloader.dataset' in readers:
        loader = filled['train_dataloader']
        loader.setdefault('batch_size', sum(source.batch_size for source in parsed.values()))
    return filled


def sources_of(settings: Config | Mapping[str, Any]) -> dict[str, Source]:
    """Return a training config's sources: those at top level, or else those of its dataset.

    Raises:
        ConfigError: none, or see :func:`parse_sources`.
    """
    found = settings.get('sources') or (_at(settings, 'train_dataloader.dataset') or {}).get('sources')
    if not found:
        named = getattr(settings, 'filename', None) or 'the config'
        raise ConfigError(f'{named} has no sources, neither at top level nor in train_dataloader.dataset')
    return parse_sources(found)


def _at(settings: Any, path: str) -> Any:
    for key in path.split('.'):
        settings = settings.get(key) if isinstance(settings, Mapping | Config) else None
    return settings


def _takes_sources(component: Any, registry: Registry) -> bool:
    taker = type_of(component, registry) if isinstance(component, Mapping) else None
    return taker is not None and 'sources' in settings_of(taker)


def _replace(settings: Any, path: list[str], component: Any) -> Any:
    """Return a copy with one component replaced; all that is not on the path is shared."""
    key, *rest = path
    return type(settings)({**settings, key: _replace(settings[key], rest, component) if rest else component})
