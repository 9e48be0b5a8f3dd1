"""Draw what the sampler draws: python docs/figures/batches.py writes batches.png beside this file.

The numbers are those that the sampler gives for three small sources and two processes.
"""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from two_stages import COLORS

from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler
from xlearner_mm.testing import index_sources

# Source -> images, and images per step and process.
SOURCES = {'birds': (12, 3), 'boxes': (5, 1), 'masks': (3, 1)}
STEPS, PROCESSES = 5, 2
OF_SOURCE = {'birds': 'cls', 'boxes': 'det', 'masks': 'seg'}


def draw_indices() -> dict[tuple[int, int], list[int]]:
    """(step, rank) -> the indices drawn."""
    sampler = MultiSourceSampler(MultiSourceDataset(index_sources(**SOURCES)), seed=0)
    sampler.world_size = PROCESSES
    drawn = {}
    for rank in range(PROCESSES):
        sampler.rank = rank
        for step in range(STEPS):
            drawn[step, rank] = sampler.step_indices(step)
    return drawn


def cell(axes: Axes, x: float, y: float, text: str, color: str, odd: bool) -> None:
    """One image; its shade says whether its source's epoch is odd."""
    axes.add_patch(Rectangle((x, y), 0.9, 0.9, fc=color + ('99' if odd else '2a'), ec=color, lw=1.0))
    axes.text(x + 0.45, y + 0.43, text, ha='center', va='center', fontsize=8, color='#222222')


def main(out: Path) -> None:
    """Draw and save."""
    drawn = draw_indices()
    dataset = MultiSourceDataset(index_sources(**SOURCES))
    per_rank = max(size for _, size in SOURCES.values())
    width = PROCESSES * (per_rank + 0.35) + 0.8
    figure, axes = plt.subplots(figsize=(13.5, 2.9))
    rows = {name: 2 - row for row, name in enumerate(SOURCES)}
    for name, (length, size) in SOURCES.items():
        axes.text(
            -0.4, rows[name] + 0.45, f'{name}: {length} images,\n{size} per step and process', ha='right', va='center'
        )
    for (step, rank), indices in drawn.items():
        left = step * width + rank * (per_rank + 0.35)
        axes.text(left + per_rank / 2, 3.1, f'rank {rank}', ha='center', fontsize=8, color=COLORS['gray'])
        filled = dict.fromkeys(SOURCES, 0)
        for index in indices:
            name, local = dataset.locate(index)
            length, size = SOURCES[name]
            position = (step * PROCESSES + rank) * size + filled[name]
            cell(
                axes,
                left + filled[name],
                rows[name],
                str(local),
                COLORS[OF_SOURCE[name]],
                bool(position // length % 2),
            )
            filled[name] += 1
    for step in range(STEPS):
        axes.text(step * width + (width - 0.8) / 2, 3.65, f'step {step}', ha='center', fontsize=11, weight='bold')
    axes.set_xlim(-7.5, STEPS * width)
    axes.set_ylim(-0.2, 4.2)
    axes.axis('off')
    figure.savefig(out, dpi=110, bbox_inches='tight')


if __name__ == '__main__':
    main(Path(__file__).with_suffix('.png'))
