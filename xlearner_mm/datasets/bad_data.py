"""What a source does with an image that cannot be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from xlearner_mm.datasets.errors import SourceError, refuse_unknown

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
        refuse_unknown(f"source '{source}': bad_data", settings, {f.name for f in fields(cls)})
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
