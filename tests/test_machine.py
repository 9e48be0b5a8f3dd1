"""Usable cores and memory: those that an affinity or a container leaves."""

import os

import pytest

from xlearner_mm import machine


def test_cores_are_those_that_this_process_may_run_on(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {3, 5, 6}, raising=False)
    assert machine.usable_cores() == 3
    monkeypatch.delattr(os, 'sched_getaffinity')
    monkeypatch.setattr(os, 'cpu_count', lambda: 8)
    assert machine.usable_cores() == 8


@pytest.mark.parametrize(
    ('limits', 'expected'),
    [
        ({}, 1000 * 4096),
        ({'new': 'max\n'}, 1000 * 4096),
        ({'new': '5000\n'}, 5000),
        ({'old': '7000'}, 7000),
        ({'new': '9223372036854771712'}, 1000 * 4096),
    ],
)
def test_memory_is_the_machines_or_what_a_container_leaves_of_it(tmp_path, monkeypatch, limits, expected):
    for name, text in limits.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, '_LIMITS', (tmp_path / 'new', tmp_path / 'old'))
    monkeypatch.setattr(os, 'sysconf', {'SC_PAGE_SIZE': 4096, 'SC_PHYS_PAGES': 1000}.__getitem__)
    assert machine.usable_memory() == expected
