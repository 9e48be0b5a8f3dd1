"""Draw the two stages of X-Learner: python docs/figures/two_stages.py writes two_stages.png beside this file."""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

COLORS = {'cls': '#3b7dd8', 'det': '#e07b39', 'seg': '#3a9a5b', 'student': '#7a4fbf', 'gray': '#8a8f98'}
LEVELS = 4


def box(axes: Axes, x: float, y: float, width: float, height: float, color: str, text: str = '', size: int = 9) -> None:
    """A rounded box with a text in its middle."""
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle='round,pad=0.02,rounding_size=0.08', fc=color + '22', ec=color, lw=1.6
        )
    )
    axes.text(x + width / 2, y + height / 2, text, ha='center', va='center', fontsize=size, color='#222222')


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str, style: str = '-') -> None:
    """An arrow from start to end."""
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle='-|>', mutation_scale=10, color=color, lw=1.3, ls=style, shrinkA=2, shrinkB=2
        )
    )


def expansion(axes: Axes) -> None:
    """Sources, their branches level by level, and the links between them."""
    for row, (task, sources) in enumerate(
        {'cls': 'ImageNet, iNat, ...', 'det': 'COCO, Objects365', 'seg': 'ADE20K, ...'}.items()
    ):
        y = 3.2 - 1.35 * row
        box(axes, 0.0, y, 1.75, 0.7, COLORS['gray'], f'{sources}\n({task} labels)', 8)
        arrow(axes, (1.8, y + 0.35), (2.15, y + 0.35), COLORS[task])
        for level in range(LEVELS):
            x = 2.15 + 1.0 * level
            box(axes, x, y, 0.7, 0.7, COLORS[task], f'$E_{level}^{{{task}}}$', 11)
            end = (x + 1.0, y + 0.35) if level < LEVELS - 1 else (x + 1.05, y + 0.35)
            arrow(axes, (x + 0.72, y + 0.35), end, COLORS[task])
        box(axes, 6.2, y, 0.95, 0.7, COLORS[task], f'stock\n{task} head', 8)
    for level in range(LEVELS - 1):
        x = 2.5 + 1.0 * level
        for upper in (3.2, 1.85):
            arrow(axes, (x - 0.12, upper - 0.02), (x - 0.12, upper - 0.63), COLORS['gray'], ':')
            arrow(axes, (x + 0.12, upper - 0.63), (x + 0.12, upper - 0.02), COLORS['gray'], ':')
    axes.text(
        5.05, 2.87, r'links $\gamma$, from lower levels', fontsize=8, color=COLORS['gray'], ha='left', va='center'
    )
    axes.text(3.6, 4.35, 'Expansion: one linked sub-backbone per task', fontsize=12, ha='center', weight='bold')


def squeeze(axes: Axes) -> None:
    """The branches' features into one student, and what it is for."""
    arrow(axes, (7.25, 2.2), (8.05, 2.2), '#222222')
    axes.text(7.65, 2.35, 'frozen', fontsize=8, ha='center', color='#222222')
    box(axes, 8.1, 1.5, 1.9, 1.4, COLORS['student'], 'one plain ResNet\n' + r'$\hat F$' + '\nno labels needed', 9)
    axes.text(9.05, 3.3, r'$\sum_t \, \Vert F^t - G^t(\hat F) \Vert^2$', fontsize=12, ha='center')
    axes.text(9.05, 4.35, 'Squeeze: FitNet', fontsize=12, ha='center', weight='bold')
    arrow(axes, (10.1, 2.2), (10.7, 2.2), '#222222')
    for row, text in enumerate(('mmpretrain: linear probe', 'mmdet: any detector', 'mmseg: any segmentor')):
        box(axes, 10.75, 3.2 - 1.35 * row, 2.1, 0.7, COLORS['student'], text, 8)
    axes.text(11.8, 4.35, 'Transfer: XLearnerResNet', fontsize=12, ha='center', weight='bold')


def main(out: Path) -> None:
    """Draw and save."""
    figure, axes = plt.subplots(figsize=(13.5, 4.2))
    expansion(axes)
    squeeze(axes)
    axes.set_xlim(-0.2, 13.4)
    axes.set_ylim(0.2, 4.75)
    axes.axis('off')
    figure.savefig(out, dpi=110, bbox_inches='tight')


if __name__ == '__main__':
    main(Path(__file__).with_suffix('.png'))
