"""Settings of property tests: the same examples in every run, few in fast tests and more in slow ones."""

from hypothesis import HealthCheck, Phase, settings

FEW = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=12,
    # Networks are built in every example: shrinking one that fails would take minutes.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
MANY = settings(FEW, max_examples=200)
