"""Look at the files of all sources before a job starts: what is missing, unreadable, or of other classes."""

from __future__ import annotations

import io
import os.path as osp
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from xlearner_mm.datasets.annotations import read_annotations
from xlearner_mm.datasets.bad_data import BadData
from xlearner_mm.datasets.building import build_deferred
from xlearner_mm.datasets.errors import BadImageError, SourceError, told
from xlearner_mm.datasets.guarded_reading import guard, leaves, stray_names
from xlearner_mm.datasets.source import Source, settings_named
from xlearner_mm.datasets.spread import spread

_FILES = ('img_path', 'seg_map_path')


@dataclass(frozen=True)
class Problem:
    """Something that would end or spoil a training.

    Args:
        source: the source's name.
        split: ``'train'`` or ``'val'``.
        place: the file, or the part of the source's settings.
        reason: what is wrong with it.
    """

    source: str
    split: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"source '{self.source}' ({self.split}): {self.place}: {self.reason}"


@dataclass
class SplitReport:
    """What was found in one split of one source.

    Args:
        source: the source's name.
        split: ``'train'`` or ``'val'``.
        dataset: the built dataset, or None if it cannot be built.
        checked: indices of the images that were opened.
        sizes: widths and heights of those that could be read, in pixels.
        problems: all that was found.
    """

    source: str
    split: str
    dataset: Any = None
    checked: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Images of the split, after the dataset's own filters."""
        return 0 if self.dataset is None else len(self.dataset)

    @property
    def classes(self) -> int:
        """Classes of the dataset's metainfo."""
        return len(getattr(self.dataset, 'metainfo', {}).get('classes') or ())

    def add(self, place: str, reason: Any) -> None:
        """Note a problem."""
        self.problems.append(Problem(self.source, self.split, place, str(reason)))


def check_source(source: Source, samples: int | None = 100) -> list[SplitReport]:
    """Check the training and the validation split of a source.

    Args:
        source: the source.
        samples: images to open per split, spread evenly over it; None opens all. Defaults to 100.
    """
    configs = {'train': source.dataset}
    if source.val_dataloader is not None:
        configs['val'] = source.val_dataloader['dataset']
    return [_check_split(source, split, config, samples) for split, config in configs.items()]


def _check_split(source: Source, split: str, config: Mapping[str, Any], samples: int | None) -> SplitReport:
    report = SplitReport(source.name, split)
    try:
        with redirect_stdout(io.StringIO()):  # COCO's reader and others talk while they read
            dataset = build_deferred(config)
            for path, reason in read_annotations(_lenient(source), dataset, list(leaves(dataset))).items():
                report.add(path, reason)
        report.dataset = dataset
    except Exception as error:  # whatever a stock dataset raises is the user's to know
        report.add('its dataset', error if isinstance(error, SourceError) else told(error))
        return report
    if not len(dataset):
        report.add('its dataset', 'is empty: check its paths and filters')
        return report
    report.checked = spread(len(dataset), len(dataset) if samples is None else samples)
    readable = _check_files(report)
    if _check_classes(report, source):
        _check_samples(report, source, readable)
    return report


def _check_files(report: SplitReport) -> list[int]:
    """Open all files of the images that are checked, and return the images of which all can be read."""
    infos = ((index, report.dataset.get_data_info(index)) for index in report.checked)
    files = [(index, key, info[key]) for index, info in infos for key in _FILES if info.get(key)]
    unreadable = set()
    # Decoding and waiting for a network drive both leave the interpreter free for other threads.
    with ThreadPoolExecutor() as pool:
        opened = pool.map(_open, (path for _, _, path in files))
        for (index, key, path), (size, reason) in zip(files, opened, strict=True):
            if reason is not None:
                report.add(path, reason)
                unreadable.add(index)
            elif size is not None and key == 'img_path':
                report.sizes.append(size)
    return [index for index in report.checked if index not in unreadable]


def _open(path: str) -> tuple[tuple[int, int] | None, str | None]:
    """Return a picture's width and height, or why it cannot be read."""
    try:
        # OpenCV, which the pipelines read with, fills up what a truncated file lacks and says nothing.
        with Image.open(path) as image:
            image.load()
            return image.size, None
    except FileNotFoundError:
        return None, 'does not exist'
    except (OSError, SyntaxError, ValueError) as error:
        return None, f'cannot be read ({osp.getsize(path):,} bytes): {error}'


def _check_classes(report: SplitReport, source: Source) -> bool:
    """Return whether the network's heads have as many classes as the dataset, as far as both say."""
    heads = settings_named('num_classes', source.network) if report.classes else ()
    if stray := stray_names(getattr(report.dataset, 'metainfo', {}).get('classes')):
        report.add('its dataset', f'takes {stray} for classes, which other programs leave behind: delete these folders')
        return False
    wrong = [(key, found) for key, found in heads if found != report.classes]
    for key, found in wrong:
        report.add(f'network.{key}', f'is {found}, but the dataset has {report.classes} classes')
    return not wrong


def _check_samples(report: SplitReport, source: Source, indices: list[int]) -> None:
    """Run the pipeline as a training or validation would, with all that it looks at: labels, boxes, label maps."""
    guard(source, report.dataset)
    for index in indices:
        try:
            report.dataset[index]
        except BadImageError as error:
            report.add(error.path, error.reason)
        except Exception as error:  # as above
            report.add('its pipeline', error)
            return


def _lenient(source: Source) -> Source:
    """The source, as one that leaves out what cannot be read: all of it is to be reported."""
    return replace(source, bad_data=BadData('skip', max_share=1.0))
