"""Sizes as a small table of text."""

from __future__ import annotations

from collections.abc import Mapping


def size_table(sizes: Mapping[str, Mapping[str, int]]) -> str:
    """Return one line per model.

    Args:
        sizes: what it is -> its ``params`` and ``flops`` (multiply-adds for one image).
    """
    width = max(len(name) for name in sizes)
    lines = [f'{"":{width}}  {"parameters":>12}  {"FLOPs":>12}']
    for name, size in sizes.items():
        lines.append(f'{name:{width}}  {size["params"] / 1e6:10.3f} M  {size["flops"] / 1e6:10.1f} M')
    return '\n'.join(lines)
