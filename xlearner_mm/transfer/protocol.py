"""How a backbone is judged: frozen or not, by which probe, on how much data, how often."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from xlearner_mm.errors import ConfigError

PROBES = ('lbfgs', 'sgd', 'knn')
"""Ways to judge a frozen backbone by classification: logistic regression, a linear head trained by SGD, neighbours."""


@dataclass(frozen=True)
class Protocol:
    """The protocol of a transfer.

    Args:
        frozen: True freezes the backbone in every task; False fine-tunes it in every task, by the config's own recipe
            where that fine-tunes. Defaults to None: as each config says.
        probe: of :data:`PROBES`, for the classification sets whose backbone stays frozen: fine-tuning leaves it
            unused, and takes the default alone. Defaults to ``'lbfgs'``.
        data_fraction: share of the training images to use, above 0 and at most 1. Defaults to 1.
        seeds: how many times everything is trained, with seeds 0, 1, ... Defaults to 1.
        options: ``KEY=VALUE`` overrides of every config. Defaults to none.

    Raises:
        ConfigError: a setting out of its range, or a probe of a backbone that is fine-tuned.
    """

    frozen: bool | None = None
    probe: str = 'lbfgs'
    data_fraction: float = 1.0
    seeds: int = 1
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.probe not in PROBES:
            raise ConfigError(f"unknown probe '{self.probe}', choose from {PROBES}")
        if self.frozen is False and self.probe != 'lbfgs':
            raise ConfigError(
                f'probe {self.probe} judges a frozen backbone, and --finetune trains it: leave one of them out'
            )
        if not 0 < self.data_fraction <= 1:
            raise ConfigError(f'data_fraction must be above 0 and at most 1, got {self.data_fraction}')
        if self.seeds < 1:
            raise ConfigError(f'seeds must be at least 1, got {self.seeds}')

    @property
    def suffix(self) -> str:
        """What tells its work directories from those of the standard protocol; empty for that one."""
        parts = []
        if self.frozen is not None:
            parts.append('frozen' if self.frozen else 'finetune')
        if self.probe != 'lbfgs':
            parts.append(self.probe)
        if self.data_fraction != 1:
            parts.append(f'{self.data_fraction * 100:g}pct')
        if self.options:
            parts.append(f'options_{hashlib.sha256(repr(self.options).encode()).hexdigest()[:6]}')
        return ''.join(f'-{part}' for part in parts)

    def arguments(self, seed: int) -> tuple[str, ...]:
        """Return the arguments of ``tools/transfer_set.py`` for one of its seeds."""
        chosen = ['--seed', str(seed), '--probe', self.probe, '--data-fraction', f'{self.data_fraction:g}']
        if self.frozen is not None:
            chosen.append('--frozen' if self.frozen else '--finetune')
        return tuple(chosen)

    def describe(self) -> dict[str, Any]:
        """Return it as plain data for a report; ``'frozen'`` is left out where each config decides."""
        plain: dict[str, Any] = {'data_fraction': self.data_fraction, 'seeds': self.seeds}
        if self.frozen is not None:
            plain['frozen'] = self.frozen
        if self.frozen is not False:
            plain['probe'] = self.probe
        if self.options:
            plain['options'] = ' '.join(self.options)
        return plain
