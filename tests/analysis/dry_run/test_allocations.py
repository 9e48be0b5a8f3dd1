import torch

from xlearner_mm.analysis.dry_run.source_cost import Allocations

KIB = 1024


def test_the_peak_is_what_was_held_at_once_and_not_the_sum():
    with Allocations() as allocations:
        for _ in range(3):
            held = torch.zeros(64, KIB)
            del held
    assert 256 * KIB <= allocations.peak < 300 * KIB


def test_the_mark_is_what_was_held_then():
    with Allocations() as allocations:
        first = torch.zeros(64, KIB)
        allocations.mark()
        second = torch.zeros(128, KIB)
    assert 256 * KIB <= allocations.at_mark < 300 * KIB
    assert allocations.peak - allocations.at_mark >= 512 * KIB
    assert first.numel() < second.numel()
