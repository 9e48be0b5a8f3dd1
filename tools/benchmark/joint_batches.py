"""Measure what it does to sources of one branch that they run as one batch, against one source after another.

python tools/benchmark/joint_batches.py --data data/xl_mini --seeds 3

Trains digits, shapes and textures of XL-Mini on one shared ResNet-18 and prints the validation's top-1 of each source,
mean and standard deviation over the seeds, `joint_batches=True` beside `False`. With `--textures-size 96` the images of
one source differ in size from the others'.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SOURCES = ('digits', 'shapes', 'textures')
CONFIG = """
_base_ = [{bases}]
sources = dict(digits=_base_.mini_digits, shapes=_base_.mini_shapes, textures=_base_.mini_textures)
for name, source in sources.items():
    for dataset in (source['dataset'], source['val_dataloader']['dataset']):
        dataset['data_root'] = '{data}/' + name
        if name == 'textures':
            dataset['pipeline'] = [
                dict(type='LoadImageFromFile'), dict(type='Resize', scale={size}), dict(type='PackInputs')]
branch = dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16, zero_init_residual=False)
model = dict(
    type='ExpansionLearner', joint_batches={joint},
    backbone=dict(type='XLearnerExpandedBackbone', branches=dict(cls=branch)))
max_iters = {steps}
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=40, end=max_iters, T_max=max_iters - 40, eta_min=1e-5)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
randomness = dict(seed={seed})
del name, source, dataset, branch, max_iters
"""


def parse_args() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, default=Path('data/xl_mini'), help='where tools/make_mini.py wrote to')
    parser.add_argument('--steps', type=int, default=300, help='training steps of a run')
    parser.add_argument('--seeds', type=int, default=3, help='runs of each kind')
    parser.add_argument('--textures-size', type=int, default=64, help='height and width of the images of textures')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/joint_batches'), help='logs, checkpoints')
    return parser.parse_args()


def main() -> int:
    """Train all runs, then print one line for each kind; return 1 when a run fails."""
    args = parse_args()
    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for seed in range(args.seeds):
        for joint, rows in found.items():
            rows.append(accuracies(args, joint, seed))
            print(f'joint_batches={joint}, seed {seed}: {rows[-1]}', flush=True)
    for joint, rows in found.items():
        cells = [f'{name} {spread([row[name] for row in rows])}' for name in (*SOURCES, 'mean')]
        print(f'joint_batches={joint}: {", ".join(cells)}')
    return 0


def accuracies(args: argparse.Namespace, joint: bool, seed: int) -> dict[str, float]:
    """Train one run; return the top-1 of every source in percent, and their mean."""
    from xlearner_mm.engine.launch import launch

    folder = args.work_dir / f'{args.textures_size}_{"joint" if joint else "apart"}_{seed}'
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f'_base_/sources/mini_{name}' for name in SOURCES]
    parts += ['_base_/multi_source_loaders', '_base_/schedules/mini_pretrain', '_base_/multi_source_runtime']
    bases = ', '.join(repr(str(CONFIGS / f'{part}.py')) for part in parts)
    config = folder / 'config.py'
    config.write_text(
        CONFIG.format(
            bases=bases,
            data=args.data.resolve(),
            size=args.textures_size,
            joint=joint,
            steps=args.steps,
            seed=seed,
        )
    )
    if launch('train', str(config), str(folder)) != 0:
        raise SystemExit(1)
    lines = sorted(folder.glob('*/vis_data/scalars.json'))[-1].read_text().splitlines()
    last = [json.loads(line) for line in lines if 'digits/accuracy/top1' in line][-1]
    own = {name: last[f'{name}/accuracy/top1'] for name in SOURCES}
    return {**own, 'mean': mean(own.values())}


def spread(values: list[float]) -> str:
    """Write mean and standard deviation."""
    return f'{mean(values):.1f} ± {stdev(values) if len(values) > 1 else 0:.1f}'


if __name__ == '__main__':
    raise SystemExit(main())
