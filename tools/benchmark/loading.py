"""Measure what loading an image of a source costs, against the stock dataset alone.

python tools/benchmark/loading.py

Writes images of every kind to a temporary folder: class folders of small JPEG and PNG pictures and of photographs, COCO
detection, segmentation. Each is loaded in batches as a source of a MultiSourceDataset with its sampler and collate
function, and as MMEngine loads the stock dataset. CPU time of the process and its workers, medians of interleaved
rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

KINDS = ('small JPEG', 'small PNG', 'photographs', 'detection', 'segmentation')
CLASSES = ('a', 'b', 'c', 'd')
_WARM_UP = 2  # rounds that do not count


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS, help='kinds of source')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 2], help='numbers of loader workers')
    parser.add_argument('--images', type=int, default=400, help='images of each kind')
    parser.add_argument('--batches', type=int, default=15, help='batches of a round')
    parser.add_argument('--rounds', type=int, default=9, help='rounds that count')
    parser.add_argument('--json', type=Path, help='file for the figures')
    return parser.parse_args()


def main() -> None:
    """Print one line for every kind of source and number of workers."""
    args = parse_args()
    import torch
    from measurement import Ratio, print_ratios

    import xlearner_mm  # noqa: F401  # registers the dataset, its sampler and collate function

    torch.set_num_threads(1)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.kinds:
            source = write_source(kind, Path(folder), args.images)
            for workers in args.workers:
                ours, stock = loading_times(source, workers, args.batches, args.rounds)
                lines.append(Ratio(kind, f'source, {workers} workers', 'stock dataset', ours, stock))
    print_ratios('one image', lines, args.json)


def loading_times(source: dict[str, Any], workers: int, batches: int, rounds: int) -> tuple[float, float]:
    """Median CPU seconds of one image: as a source, and of the stock dataset."""
    with endless(source_loader(source, workers)) as ours, endless(stock_loader(source, workers)) as stock:
        loadings = Loading(ours), Loading(stock)
        for _ in range(_WARM_UP + rounds + 1):
            for loading in loadings:
                loading.load(batches)
    first, second = (median(loading.seconds[_WARM_UP:]) / batches / source['batch_size'] for loading in loadings)
    return first, second


class Loading:
    """CPU time of the rounds of one loader, in this process and in the loader's workers.

    Workers prepare batches of the next round between their rounds, so their time is that from round to round.

    Args:
        batches: of the loader.
    """

    def __init__(self, batches: Iterator[Any]) -> None:
        before = _children()
        next(batches)
        self._batches, self._workers = batches, _children() - before
        self._main: list[float] = []
        self._at_start: list[float] = []

    def load(self, count: int) -> None:
        """Take the batches of one round."""
        self._at_start.append(sum(map(_cpu_seconds, self._workers)))
        start = time.process_time()
        for _ in range(count):
            next(self._batches)
        self._main.append(time.process_time() - start)

    @property
    def seconds(self) -> list[float]:
        """CPU time of each round but the last."""
        workers = [after - before for before, after in pairwise(self._at_start)]
        return [sum(parts) for parts in zip(self._main[:-1], workers, strict=True)]


def _children() -> set[int]:
    import psutil

    return {process.pid for process in psutil.Process().children()}


def _cpu_seconds(process: int) -> float:
    # psutil counts hundredths of a second. Linux makes the number of a process's clock of its own number.
    return time.clock_gettime((~process << 3) | 2)


@contextmanager
def endless(loader: Any) -> Iterator[Iterator[Any]]:
    """Batches without end; the loader's workers end with it."""

    def batches() -> Iterator[Any]:
        while True:
            yield from loader

    with closing(batches()) as iterator:
        yield iterator


def source_loader(source: dict[str, Any], workers: int) -> Any:
    """The loader of an expansion with this source alone."""
    from mmengine.runner import Runner

    sources = {'only': source}
    return Runner.build_dataloader(
        {
            'batch_size': source['batch_size'],
            'num_workers': workers,
            'persistent_workers': workers > 0,
            'dataset': {'type': 'MultiSourceDataset', 'sources': sources},
            'sampler': {'type': 'MultiSourceSampler'},
            'collate_fn': {'type': 'multi_source_collate'},
        },
        seed=0,
    )


def stock_loader(source: dict[str, Any], workers: int) -> Any:
    """The loader of a training on the stock dataset."""
    from mmengine.runner import Runner

    return Runner.build_dataloader(
        {
            'batch_size': source['batch_size'],
            'num_workers': workers,
            'persistent_workers': workers > 0,
            'dataset': dict(source['dataset']),
            'sampler': {'type': 'InfiniteSampler', 'shuffle': True},
            'collate_fn': {'type': 'pseudo_collate'},
        },
        seed=0,
    )


def write_source(kind: str, folder: Path, images: int) -> dict[str, Any]:
    """Write a source's images and return its settings."""
    root = folder / kind.replace(' ', '_')
    if kind == 'detection':
        return _write_detection(root, images)
    if kind == 'segmentation':
        return _write_segmentation(root, images)
    size, suffix = (600, 'jpg') if kind == 'photographs' else (64, kind.split()[1].lower().replace('jpeg', 'jpg'))
    for number in range(images):
        save_picture(root / CLASSES[number % len(CLASSES)] / f'{number}.{suffix}', size, number)
    crop = [{'type': 'RandomResizedCrop', 'scale': 224}] if kind == 'photographs' else []
    pipeline = [{'type': 'LoadImageFromFile'}, *crop, {'type': 'RandomFlip', 'prob': 0.5}, {'type': 'PackInputs'}]
    return {
        'task': 'cls',
        'batch_size': 16,
        'dataset': {'_scope_': 'mmpretrain', 'type': 'CustomDataset', 'data_root': str(root), 'pipeline': pipeline},
    }


def save_picture(path: Path, size: int, seed: int) -> None:
    """Write a picture with the frequencies of a photograph, so that it decodes like one."""
    import numpy as np
    from PIL import Image

    coarse = np.random.default_rng(seed).integers(0, 255, (size // 8, size // 8, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(path)


def _write_detection(root: Path, images: int) -> dict[str, Any]:
    entries, annotations = [], []
    for number in range(images):
        save_picture(root / 'images' / f'{number}.jpg', 480, number)
        entries.append({'id': number, 'file_name': f'{number}.jpg', 'width': 480, 'height': 480})
        for index in range(7):
            box = [20 + 50 * index, 30 + 40 * index, 80, 90]
            annotations.append(
                {
                    'id': len(annotations),
                    'image_id': number,
                    'category_id': 1 + index % len(CLASSES),
                    'bbox': box,
                    'area': box[2] * box[3],
                    'iscrowd': 0,
                }
            )
    categories = [{'id': number, 'name': name} for number, name in enumerate(CLASSES, 1)]
    content = {'images': entries, 'annotations': annotations, 'categories': categories}
    (root / 'annotations.json').write_text(json.dumps(content))
    pipeline = [
        {'type': 'LoadImageFromFile'},
        {'type': 'LoadAnnotations', 'with_bbox': True},
        {'type': 'Resize', 'scale': (666, 400), 'keep_ratio': True},
        {'type': 'RandomFlip', 'prob': 0.5},
        {'type': 'PackDetInputs'},
    ]
    dataset = {
        '_scope_': 'mmdet',
        'type': 'CocoDataset',
        'metainfo': {'classes': CLASSES},
        'data_root': str(root) + os.sep,
        'ann_file': 'annotations.json',
        'data_prefix': {'img': 'images/'},
        'pipeline': pipeline,
    }
    return {'task': 'det', 'batch_size': 8, 'dataset': dataset}


def _write_segmentation(root: Path, images: int) -> dict[str, Any]:
    import numpy as np
    from PIL import Image

    for number in range(images):
        save_picture(root / 'images' / f'{number}.jpg', 64, number)
        labels = np.random.default_rng(number).integers(0, len(CLASSES), (8, 8), np.uint8).repeat(8, 0).repeat(8, 1)
        path = root / 'labels' / f'{number}.png'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(labels).save(path)
    pipeline = [
        {'type': 'LoadImageFromFile'},
        {'type': 'LoadAnnotations'},
        {'type': 'RandomFlip', 'prob': 0.5},
        {'type': 'PackSegInputs'},
    ]
    dataset = {
        '_scope_': 'mmseg',
        'type': 'BaseSegDataset',
        'metainfo': {'classes': CLASSES, 'palette': [[40 * number] * 3 for number in range(len(CLASSES))]},
        'data_root': str(root),
        'data_prefix': {'img_path': 'images', 'seg_map_path': 'labels'},
        'pipeline': pipeline,
    }
    return {'task': 'seg', 'batch_size': 16, 'dataset': dataset}


if __name__ == '__main__':
    main()
