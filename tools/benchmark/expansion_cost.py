"""Print what an expanded backbone costs: parameters, and FLOPs per image beside the plain computation.

python tools/benchmark/expansion_cost.py --depth 50 --branches 2 3

Cheap: gradients through the image's own branch, the others forward only and as deep as links read. Plain: all
branches, all levels, with gradients. FLOPs are counted by PyTorch for forward and backward; a multiply-add is two.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xlearner_mm.models import XLearnerExpandedBackbone


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--depth', type=int, default=50, help='of the ResNet branches')
    parser.add_argument('--branches', type=int, nargs='+', default=[2, 3], help='numbers of branches T')
    parser.add_argument('--size', type=int, default=224, help='height and width of the image')
    parser.add_argument('--links', nargs='+', default=['ConvLink', 'BottleneckLink', 'PoolLink'], help='kinds of link')
    return parser.parse_args()


def main() -> None:
    """Print one line per number of branches and kind of link."""
    args = parse_args()
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f'ResNet-{args.depth}, one image of {args.size} x {args.size}')
    for column in ('T', 'links', 'branches (M)', 'links (M)', 'cheap (GFLOPs)', 'plain (GFLOPs)', 'cheap / plain'):
        table.add_column(column, justify='right')
    for count in args.branches:
        for link in args.links:
            table.add_row(*measure(args.depth, count, link, args.size))
    Console(width=110).print(table)


def measure(depth: int, count: int, link: str, size: int) -> tuple[str, ...]:
    """Return the cells of one line."""
    from xlearner_mm.registry import MODELS

    branch = {'type': 'XLearnerResNet', 'depth': depth}
    backbone = MODELS.build(
        {
            'type': 'XLearnerExpandedBackbone',
            'branches': {f'task{i}': branch for i in range(count)},
            'reconciliation': {'link': {'type': link}},
        }
    )
    branches, links = (sum(p.numel() for p in part.parameters()) / 1e6 for part in (backbone.branches, backbone.links))
    cheap, plain = count_flops(backbone, size, plain=False), count_flops(backbone, size, plain=True)
    cells = (f'{value:.1f}' for value in (branches, links, cheap / 1e9, plain / 1e9))
    return str(count), link, *cells, f'{cheap / plain:.2f}'


def count_flops(backbone: XLearnerExpandedBackbone, size: int, plain: bool) -> int:
    """Count forward and backward of one image ``(1, 3, size, size)`` of the first branch's task."""
    import torch

    from xlearner_mm.analysis.dry_run.source_cost import measure_step

    image = torch.randn(1, 3, size, size)
    # One image at a stride of 32 may leave a norm a single value: inference mode costs the same convolutions.
    backbone.eval()

    def loss() -> torch.Tensor:
        if plain:
            features = [level for levels in backbone.forward_branches(image).values() for level in levels]
        else:
            features = list(backbone.forward_task(image, next(iter(backbone.branches))))
        return torch.stack([level.sum() for level in features]).sum()

    return round(measure_step(loss, backbone.parameters()).flops)


if __name__ == '__main__':
    main()
