"""Draw how ports sit in stock networks: python docs/figures/port.py writes port.png beside this file."""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from two_stages import COLORS, arrow, box

NETWORKS = {
    'birds': ('cls', 'mmpretrain ImageClassifier', 'ClsDataPreprocessor', 'GlobalAveragePooling', 'LinearClsHead'),
    'boxes': ('det', 'mmdet RetinaNet', 'DetDataPreprocessor', 'FPN', 'RetinaHead'),
}
PORT_X = 5.1


def network(axes: Axes, y: float, source: str) -> None:
    """A stock network, row by row as its config is."""
    task, name, preprocessor, neck, head = NETWORKS[source]
    gray, color = COLORS['gray'], COLORS[task]
    box(axes, 2.0, y - 0.22, 12.0, 1.3, gray)
    axes.text(2.1, y + 0.88, f'source {source}: {name}', fontsize=9, color='#222222', va='center')
    axes.text(0.85, y + 0.32, f'images and labels\nof {source}', ha='center', va='center', fontsize=9)
    for x, width, text in (
        (2.3, 2.3, f'data_preprocessor\n{preprocessor}'),
        (8.0, 2.3, f'neck\n{neck}'),
        (10.8, 1.9, f'head\n{head}'),
    ):
        box(axes, x, y, width, 0.65, gray, text, 8)
    box(axes, PORT_X, y, 2.3, 0.65, color, f"backbone\nTaskPort(task='{task}')", 8)
    axes.text(14.9, y + 0.32, f'{source}.loss...', ha='center', va='center', fontsize=9)
    for start, end in ((1.6, 2.28), (4.65, 5.05), (7.45, 7.98), (10.35, 10.78), (12.75, 14.2)):
        arrow(axes, (start, y + 0.32), (end, y + 0.32), color)


def main(out: Path) -> None:
    """Draw and save."""
    figure, axes = plt.subplots(figsize=(13.5, 4.4))
    network(axes, 4.0, 'birds')
    network(axes, 0.0, 'boxes')
    box(axes, 3.4, 1.62, 5.7, 1.76, '#222222')
    axes.text(9.3, 2.5, 'XLearnerExpandedBackbone:\nowned once, by the ExpansionLearner', fontsize=9, va='center')
    for task, y in (('cls', 2.72), ('det', 1.74)):
        box(axes, 3.6, y, 5.3, 0.5, COLORS[task], f'branch {task}: stem, stages 0 to 3', 9)
    for x in (4.1, 8.4):
        arrow(axes, (x - 0.15, 2.7), (x - 0.15, 2.27), COLORS['gray'], ':')
        arrow(axes, (x + 0.15, 2.27), (x + 0.15, 2.7), COLORS['gray'], ':')
    axes.text(6.25, 2.48, 'reconciliation links', fontsize=8, color=COLORS['gray'], ha='center', va='center')
    for task, start, end in (('cls', 3.98, 3.25), ('det', 0.67, 1.71)):
        x = PORT_X + 1.15
        arrow(axes, (x - 0.2, start), (x - 0.2, end), COLORS[task])
        arrow(axes, (x + 0.2, end), (x + 0.2, start), COLORS[task])
        axes.text(
            x + 0.4, (start + end) / 2 + (0.12 if task == 'cls' else -0.2), f'$F^{{{task}}}$', fontsize=11, va='center'
        )
    axes.set_xlim(-0.2, 15.8)
    axes.set_ylim(-0.4, 5.3)
    axes.axis('off')
    figure.savefig(out, dpi=110, bbox_inches='tight')


if __name__ == '__main__':
    main(Path(__file__).with_suffix('.png'))
