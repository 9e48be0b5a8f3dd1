"""Draw the topologies of links: python docs/figures/topologies.py writes topologies.png beside this file.

The links drawn are those that the package builds.
"""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from two_stages import COLORS, LEVELS, arrow, box

from xlearner_mm.models.expansion.reconciliation import Reconciliation

# `higher` and `all` read levels that the stream has not computed yet.
FUSES = {'lower': 'stream', 'same': 'stream', 'higher': 'output', 'all': 'output'}


def panel(axes: Axes, topology: str, fuse: str) -> None:
    """Two branches, and the links from one into the other."""
    settings = Reconciliation(topology=topology, fuse=fuse)
    keys = settings.link_keys({'cls': LEVELS, 'det': LEVELS})
    for task, y in (('cls', 1.6), ('det', 0.0)):
        for level in range(LEVELS):
            box(axes, level, y, 0.55, 0.5, COLORS[task], f'$E_{level}^{{{task}}}$', 9)
            if level < LEVELS - 1:
                arrow(axes, (level + 0.57, y + 0.25), (level + 0.98, y + 0.25), COLORS[task])
    for key in keys:
        if key.receiver == 'det':
            arrow(axes, (key.sender_level + 0.28, 1.58), (key.receiver_level + 0.28, 0.53), COLORS['gray'])
    axes.set_title(f"topology='{topology}'\nfuse='{fuse}', {len(keys)} links", fontsize=9)
    axes.set_xlim(-0.1, LEVELS - 0.35)
    axes.set_ylim(-0.15, 2.25)
    axes.axis('off')


def main(out: Path) -> None:
    """Draw and save."""
    figure, all_axes = plt.subplots(1, len(FUSES), figsize=(12.5, 2.9))
    for axes, (topology, fuse) in zip(all_axes, FUSES.items(), strict=True):
        panel(axes, topology, fuse)
    figure.savefig(out, dpi=110, bbox_inches='tight')


if __name__ == '__main__':
    main(Path(__file__).with_suffix('.png'))
