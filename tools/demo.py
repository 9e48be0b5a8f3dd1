"""The whole job on small data: sources, expansion, squeeze, transfer, report.

python tools/demo.py

Interrupt it when you like: the same command goes on from there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xlearner_mm.pipeline import Job
    from xlearner_mm.transfer.report import Report
    from xlearner_mm.transfer.suite import TransferSet

SOURCES_CONFIG = Path('configs/mini/hard_sharing_seg_r18.py')
EXPANSION_CONFIG = Path('configs/mini/xlearner_seg_r18_expansion.py')
SQUEEZE_CONFIG = Path('configs/mini/xlearner_seg_r18_squeeze.py')
TRANSFER_CONFIGS = Path('configs/mini/transfer')
METHODS = ('scratch', 'hard_sharing', 'xlearner')


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='where everything goes')
    parser.add_argument('--workers', type=int, default=2, help='how many trainings run at once')
    parser.add_argument('--fresh', action='store_true', help='start over')
    parser.add_argument('--steps', type=int, help='train everything for so few steps only: tries the demo out')
    return parser.parse_args()


def main() -> int:
    """Run all tools in order; return the exit status."""
    args = parse_args()
    began = time.monotonic()
    os.chdir(Path(__file__).resolve().parent.parent)  # configs name data by paths from here
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # one core a worker; read when torch is imported
    print('X-Learner in miniature: about 12 minutes on 2 cores', flush=True)
    import torch

    from xlearner_mm.pipeline import JobRunner
    from xlearner_mm.transfer.suite import transfer_sets

    if args.fresh:
        shutil.rmtree(args.work_dir, ignore_errors=True)
    sets = transfer_sets(TRANSFER_CONFIGS)
    jobs = demo_jobs(args.work_dir, sets, args.steps)
    # A copy of this process can use no GPU that this one has looked for.
    fork = sys.platform == 'linux' and not torch.cuda.is_available()
    outcome = JobRunner(jobs, args.work_dir, args.workers, fork).run()
    if outcome.status:
        return outcome.status

    report = demo_report(args.work_dir, sets, outcome.seconds)
    report.show()
    print('written:', *report.write(args.work_dir))
    print(f'this run took {(time.monotonic() - began) / 60:.1f} min')
    return 0


def demo_jobs(work_dir: Path, sets: list[TransferSet], steps: int | None) -> list[Job]:
    """Return the calls of all tools.

    Args:
        work_dir: parent of all work directories.
        sets: the transfer sets.
        steps: length of every training. Defaults to None: as the configs say.
    """
    from xlearner_mm.mini import CATALOG, MARKER, catalog
    from xlearner_mm.pipeline import Job, training_job
    from xlearner_mm.transfer.suite import transfer_jobs

    short = {} if steps is None else _short(steps)
    options = {'default_hooks.checkpoint.interval': 50, 'default_hooks.logger.interval': 10, **short}

    def data(role: str, seconds: float) -> Job:
        names = tuple(name for name, entry in CATALOG.items() if entry.role == role)
        markers = tuple(Path('data/xl_mini') / name / MARKER for name in names)
        command = (sys.executable, 'tools/make_mini.py', '--only', *names)
        return Job(f'data/{role}', command, seconds=seconds, inputs=(Path(catalog.__file__),), outputs=markers)

    def pretraining(name: str, config: Path, needs: str, seconds: float, **more: object) -> Job:
        return training_job(name, config, work_dir / name, {**options, **more}, (needs,), seconds)

    def export(method: str, stage: str) -> Job:
        out = work_dir / method / 'backbone.pth'
        command = (sys.executable, 'tools/export_backbone.py', str(work_dir / stage), '--out', str(out))
        return Job(f'{method}/export', command, (stage,), seconds=2, outputs=(out,))

    teacher = {'model.teacher.checkpoint': work_dir / 'xlearner/expansion'}
    jobs = [
        data('source', 60),
        data('transfer', 40),
        pretraining('xlearner/expansion', EXPANSION_CONFIG, 'data/source', 240),
        pretraining('xlearner/squeeze', SQUEEZE_CONFIG, 'xlearner/expansion', 150, **teacher),
        pretraining('hard_sharing/training', SOURCES_CONFIG, 'data/source', 150),
        export('xlearner', 'xlearner/squeeze'),
        export('hard_sharing', 'hard_sharing/training'),
    ]
    for method in METHODS:
        backbone = None if method == 'scratch' else work_dir / method / 'backbone.pth'
        needs = ('data/transfer',) if method == 'scratch' else ('data/transfer', f'{method}/export')
        jobs += transfer_jobs(method, backbone, sets, work_dir, needs, {'default_hooks.logger.interval': 10, **short})
    return jobs


def demo_report(work_dir: Path, sets: list[TransferSet], seconds: dict[str, float]) -> Report:
    """Return what has been measured.

    Args:
        work_dir: parent of all work directories.
        sets: the transfer sets.
        seconds: job -> how long it took.
    """
    from mmengine.config import Config

    from xlearner_mm.mini import CATALOG
    from xlearner_mm.transfer.predictions import detect, segment
    from xlearner_mm.transfer.report import Report
    from xlearner_mm.transfer.results import read_results
    from xlearner_mm.transfer.rows import build_row, read_upstream

    sources = Config.fromfile(str(SOURCES_CONFIG)).sources
    stages = {
        'hard_sharing': work_dir / 'hard_sharing/training',
        'xlearner, expanded': work_dir / 'xlearner/expansion',
        'xlearner': work_dir / 'xlearner/squeeze',
    }
    upstream = {title: read_upstream(folder, sources) for title, folder in stages.items()}
    rows = [build_row(method, work_dir, sets, upstream.get(method, {}), seconds) for method in METHODS]
    titles = ('Hard-sharing: loss', 'X-Learner, expansion stage: loss', 'X-Learner, squeeze stage: loss')
    trainings = {title: read_results(folder) for title, folder in zip(titles, stages.values(), strict=True)}
    predictions = {}
    for entry in sets:
        folder = work_dir / 'xlearner' / entry.config.stem
        predict = {'det': detect, 'seg': segment}.get(entry.task)
        if predict:
            title = f'xlearner transferred to {entry.name}: test images'
            predictions[title] = predict(folder / entry.config.name, folder)
    chance = {name: 100 / len(entry.classes) for name, entry in CATALOG.items() if entry.task == 'cls'}
    return Report(rows, upstream, trainings, predictions, chance)


def _short(steps: int) -> dict[str, int]:
    return {'train_cfg.max_iters': steps, 'train_cfg.val_interval': steps}


if __name__ == '__main__':
    sys.exit(main())
