"""Print what a list of annotations costs in memory and time, held by every process or once by all.

python tools/benchmark/data_memory.py --images 1000000 --processes 2 --workers 2

MB beyond those of the same program with ten images. USS: what the process holds alone, before it has workers. PSS: that
of the process and its workers, each with its share of what several hold: the sum over all is what the machine spends.
Peak: the most that the process held while it read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.dataset import BaseDataset

MB = 1e6


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=1_000_000)
    parser.add_argument('--boxes', type=int, default=0, help='objects of each image')
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--workers', type=int, default=2, help='loader workers of each process')
    return parser.parse_args()


def main() -> None:
    """Measure both ways, and print a table."""
    args = parse_args()
    from rich.console import Console
    from rich.table import Table

    title = f'{args.images:,} images, {args.boxes} boxes each; {args.processes} processes, {args.workers} workers each'
    table = Table(title=title)
    columns = ('held', 'process', 'workers', 'USS (MB)', 'PSS (MB)', 'peak (MB)', 'read (s)', 'fingerprint (s)')
    for column in columns:
        table.add_column(column, justify='right')
    with tempfile.TemporaryDirectory() as folder:
        path, few = (write_list(f'{folder}/{n}.json', n, args.boxes) for n in (args.images, 10))
        for held in ('by each', 'once'):
            ranks = measure(path, few, f'{folder}/{held}', held == 'once', args.processes, args.workers)
            for rank, found in enumerate(ranks):
                table.add_row(held, str(rank), str(args.workers), *(f'{value:,.1f}' for value in found))
            table.add_row(held, 'all', '', '', f'{sum(found[1] for found in ranks):,.1f}', '', '', '', end_section=True)
    Console(width=110).print(table)


def write_list(path: str, images: int, boxes: int) -> str:
    """Write an annotation file in MMEngine's format, and return its path."""
    with open(path, 'w') as file:
        file.write('{"metainfo": {}, "data_list": [')
        for i in range(images):
            objects = [
                {'bbox': [i % 100, box, 50.5, 40.25], 'bbox_label': box, 'ignore_flag': 0} for box in range(boxes)
            ]
            item = {'img_path': f'data/imagenet/train/{i % 1000:05d}/{i:09d}.jpg', 'gt_label': i % 1000}
            file.write((', ' if i else '') + json.dumps({**item, 'instances': objects} if boxes else item))
        file.write(']}')
    return path


def measure(path: str, few: str, folder: str, once: bool, processes: int, workers: int) -> list[list[float]]:
    """Return what each process takes: USS, PSS, peak, seconds to read, seconds for the fingerprint."""
    from torch.multiprocessing import start_processes

    os.makedirs(folder)
    start_processes(_measure, (path, few, folder, once, processes, workers), processes, start_method='spawn')
    return [json.loads(open(f'{folder}/{rank}.json').read()) for rank in range(processes)]


def _measure(rank: int, path: str, few: str, folder: str, once: bool, processes: int, workers: int) -> None:
    import torch.distributed as dist

    dist.init_process_group('gloo', init_method=f'file://{folder}/group', rank=rank, world_size=processes)
    before, after = _held(few, once, workers), _held(path, once, workers)
    memory = [(now - then) / MB for now, then in zip(after[:3], before[:3], strict=True)]
    with open(f'{folder}/{rank}.json', 'w') as file:
        json.dump([*memory, *after[3:]], file)


def _held(path: str, once: bool, workers: int) -> tuple[float, ...]:
    """Bytes of USS, PSS and peak with one list of annotations, and seconds to read it and for its fingerprint."""
    import torch.distributed as dist
    from mmengine.dataset import BaseDataset
    from torch.utils.data import DataLoader

    from xlearner_mm.datasets.fingerprint import fingerprint
    from xlearner_mm.datasets.shared_annotations import is_copy, read_once

    start = time.perf_counter()
    dataset = BaseDataset(ann_file=path, data_prefix={}, lazy_init=True, pipeline=[_label])
    if once:
        read_once(dataset.full_init, [dataset])
    else:
        dataset.full_init()
    read = time.perf_counter()
    if not is_copy([dataset]):
        fingerprint(dataset)
    counted = time.perf_counter()
    _look_through(dataset)
    uss = _memory('uss')
    loader = iter(DataLoader(dataset, 100, num_workers=workers, multiprocessing_context='fork' if workers else None))
    next(loader)
    dist.barrier()
    pss = _memory('pss')
    dist.barrier()
    with open('/proc/self/status') as file:
        peak = 1024 * next(int(line.split()[1]) for line in file if line.startswith('VmHWM'))
    return uss, pss, peak, read - start, counted - read


def _label(info: dict[str, Any]) -> int:
    return info['gt_label']


def _look_through(dataset: BaseDataset) -> None:
    """Touch all that a long training touches."""
    for index in range(0, len(dataset), 10):
        dataset.get_data_info(index)


def _memory(kind: str) -> float:
    """USS or PSS of this process and its workers."""
    import psutil

    own = psutil.Process()
    return sum(getattr(each.memory_full_info(), kind) for each in (own, *own.children(recursive=True)))


if __name__ == '__main__':
    sys.exit(main())
