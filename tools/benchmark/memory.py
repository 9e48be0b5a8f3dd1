"""Measure the peak memory of an expansion step, its backward pass by branch against one for all sources.

python tools/benchmark/memory.py --scale mini
python tools/benchmark/memory.py --scale r50 --batch-size 2 --rounds 3

Whole training steps on random images: passes and the update by SGD. The peak is what a step allocates beyond weights
and optimizer state; on a CPU of PyTorch's allocator, on a GPU of tensors. Times beside it are medians of interleaved
rounds, on a CPU of the process's CPU time with one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from random_batches import batch_of
from step import build_learner, training_of


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--scale', choices=('mini', 'r50'), default='mini', help='XL-Mini w/ seg, or ResNet-50')
    parser.add_argument('--device', default='cpu', help='cpu, or a CUDA device')
    parser.add_argument('--size', type=int, help='height and width of the images; as trained, or 224 for r50')
    parser.add_argument('--batch-size', type=int, help='images of every source; as trained, or 4 for r50')
    parser.add_argument('--rounds', type=int, default=15, help='rounds that count')
    parser.add_argument('--json', type=Path, help='file for the figures')
    return parser.parse_args()


def main() -> None:
    """Print the ratios of memory and time."""
    args = parse_args()
    import torch
    from measurement import Ratio, medians, print_ratios
    from mmengine.logging import MMLogger

    MMLogger.get_instance('mmengine', log_level='ERROR')
    torch.manual_seed(0)
    if args.device == 'cpu':
        torch.set_num_threads(1)
    model, sources = training_of(args.scale, args.batch_size)
    batches = {name: batch_of(source, args.size or source['size'], 'cpu') for name, source in sources.items()}
    learner = build_learner(model, sources, None, args.device)
    ways = {backward: step_with(learner, batches, backward) for backward in ('branch', 'joint')}
    taken = medians(ways, args.rounds, args.device)
    peaks = {backward: peak_of(way, args.device) for backward, way in ways.items()}
    images = sum(len(batch['inputs']) for batch in batches.values())
    line = Ratio(
        'expansion step',
        'backward by branch',
        'joint',
        taken['branch'],
        taken['joint'],
        peak_bytes=peaks['branch'],
        baseline_peak_bytes=peaks['joint'],
    )
    print_ratios(f'{args.scale}, {images} images a step of {len(sources)} sources, {args.device}', [line], args.json)


def step_with(learner: Any, batches: dict[str, dict[str, Any]], backward: str) -> Callable[[], None]:
    """A training step of one kind of backward pass."""
    import torch
    from mmengine.optim import OptimWrapper

    wrapper = OptimWrapper(torch.optim.SGD(learner.parameters(), lr=1e-6, momentum=0.9))

    def run() -> None:
        learner.backward = backward
        learner.train_step(
            {name: {**batch, 'inputs': list(batch['inputs'])} for name, batch in batches.items()}, wrapper
        )

    return run


def peak_of(step: Callable[[], None], device: str) -> int:
    """Most bytes that a step allocates beyond those before it."""
    import gc

    import torch

    from xlearner_mm.analysis.dry_run.source_cost import Allocations

    gc.collect()
    if device == 'cpu':
        with Allocations() as allocations:
            step()
        return allocations.peak
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - before


if __name__ == '__main__':
    main()
