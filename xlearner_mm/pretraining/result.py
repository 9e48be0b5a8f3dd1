"""The result of a pretraining: the sources' metrics, pictures, and how to use the backbone."""

from __future__ import annotations

from pathlib import Path

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.config.options import read_config
from xlearner_mm.layouts.layout import shown
from xlearner_mm.pretraining.jobs import BACKBONE, CURVES, FEATURES, SHEET, stage_folder
from xlearner_mm.pretraining.plan import Plan
from xlearner_mm.pretraining.stage_files import EXPANSION, SQUEEZE
from xlearner_mm.report.results import read_results, read_upstream
from xlearner_mm.report.tables import json_text, markdown, print_table, upstream_table
from xlearner_mm.typed_json import to_json

REPORT, VALUES, LOSSES = 'report.md', 'report.json', 'losses.png'
_TITLES = {EXPANSION: 'expansion', SQUEEZE: 'student (fidelity)'}


def write_result(plan: Plan, out: Path) -> None:
    """Write and print the report of a finished pretraining.

    Args:
        plan: of the pretraining.
        out: its folder.
    """
    sources = read_config(str(out / f'{EXPANSION}.py')).sources
    upstream = {_TITLES[stage]: read_upstream(stage_folder(out, stage), sources) for stage in plan.stages}
    _draw_losses(plan, out)
    table, lines = upstream_table(upstream), usage(out)
    pictures = {
        'Losses of the stages': LOSSES,
        'Losses and similarities of the squeeze by branch and level, fidelity by source': CURVES,
        'Features of branches and student: same color, same feature': FEATURES,
        'Training images with their labels': SHEET,
    }
    parts = ['# Pretrained backbone', 'Validation metrics of the sources, in percent.', markdown(table)]
    parts += [plan.limits] if plan.limits else []
    parts += ['## Use', f'In a config of mmdet, mmseg or mmpretrain with a ResNet:\n\n```python\n{lines}\n```']
    parts += [f'## {title}\n\n![{title}]({file})' for title, file in pictures.items() if (out / file).exists()]
    atomic_write_text(out / REPORT, '\n\n'.join(parts) + '\n')
    atomic_write_text(out / VALUES, json_text(to_json(upstream)))
    print_table(table, 'sources: validation in percent')
    print(f'written: {shown(out) / BACKBONE}, {shown(out) / REPORT}')
    print(f'in a config of mmdet, mmseg or mmpretrain with a ResNet:\n{lines}')


def usage(out: Path) -> str:
    """Return the lines that put the backbone into a config with a ResNet, whose other settings stay."""
    meta = read_checkpoint(str(out / BACKBONE))['meta']
    settings = meta['backbone']
    of_width = ''.join(f', {key}={settings[key]}' for key in ('stem_channels', 'base_channels') if key in settings)
    return (
        "custom_imports = dict(imports=['xlearner_mm'])\n"
        'model = dict(backbone=dict(\n'
        f"    type='XLearnerResNet', depth={settings['depth']}{of_width},\n"
        f"    init_cfg=dict(type='Pretrained', checkpoint={str(shown(out) / BACKBONE)!r})))\n"
        f'# in_channels of necks and heads that read its levels: {meta["channels"]}'
    )


def _draw_losses(plan: Plan, out: Path) -> None:
    from xlearner_mm.report.figure import draw_losses  # matplotlib is slow to import
    from xlearner_mm.visualization.png import blank_figure, save_png

    figure = blank_figure(6.5 * len(plan.stages), 3.6)
    for panel, stage in zip(figure.subplots(1, len(plan.stages), squeeze=False)[0], plan.stages, strict=True):
        draw_losses(panel, f'{stage}: loss', read_results(stage_folder(out, stage)))
    save_png(figure, out / LOSSES)
