"""Look at the files of all sources before a job starts: what is missing, unreadable, or of other classes."""

from __future__ import annotations

import io
import os
import os.path as osp
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from xlearner_mm.datasets.annotations import read_annotations
from xlearner_mm.datasets.bad_data import BadData
from xlearner_mm.datasets.building import build_deferred
from xlearner_mm.datasets.categories import check_same_classes, classes_of
from xlearner_mm.datasets.errors import BadImageError, one_line, told
from xlearner_mm.datasets.guarded_reading import guard, ignored_value, leaves, stray_names
from xlearner_mm.datasets.label_maps import values_of_maps
from xlearner_mm.datasets.source import Source, settings_named
from xlearner_mm.datasets.spread import spread
from xlearner_mm.evaluation import MultiSourceEvaluator

_FILES = ('img_path', 'seg_map_path')
_MOST_PIXELS = 2**30
_DATASET = 'its dataset'


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
        notes: what is no problem, but worth knowing.
    """

    source: str
    split: str
    dataset: Any = None
    checked: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Images of the split, after the dataset's own filters."""
        return 0 if self.dataset is None else len(self.dataset)

    @property
    def classes(self) -> int:
        """Classes of the dataset's metainfo."""
        return len(classes_of(self.dataset))

    def info(self, index: int) -> Mapping[str, Any]:
        """Annotations of one image; of datasets that tell none, an empty dict."""
        return self.dataset.get_data_info(index) if hasattr(self.dataset, 'get_data_info') else {}

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
    reports = [_check_split(source, split, config, samples) for split, config in configs.items()]
    with _problems_of(reports[-1]):
        _check_together(source, *reports)
    return reports


def _check_split(source: Source, split: str, config: Mapping[str, Any], samples: int | None) -> SplitReport:
    report = SplitReport(source.name, split)
    with _problems_of(report):
        with redirect_stdout(io.StringIO()):  # COCO's reader and others talk while they read
            dataset = build_deferred(config)
            parts = list(leaves(dataset))
            for path, reason in read_annotations(_lenient(source), dataset, parts, notes=report.notes).items():
                report.add(path, reason)
        if not len(dataset):
            raise ValueError('is empty: check its paths and filters')
        report.dataset = dataset
        report.checked = spread(len(dataset), len(dataset) if samples is None else samples)
        readable = _check_files(report)
        if _check_classes(report, source):
            _check_samples(report, source, readable)
    return report


@contextmanager
def _problems_of(report: SplitReport) -> Iterator[None]:
    """Within it, whatever is raised is a problem: what stock code raises on foreign files is the user's to know."""
    try:
        yield
    except Exception as error:
        said = one_line(error) if isinstance(error, ValueError) else told(error)
        report.add(_DATASET, said.removeprefix(f"source '{report.source}': "))


def _check_together(source: Source, train: SplitReport, val: SplitReport | None = None) -> None:
    """Compare what both splits say of the classes, and prepare the validation's metrics as a training would."""
    if val is None or any(problem.place == _DATASET for problem in [*train.problems, *val.problems]):
        return
    for part in list(leaves(train.dataset))[:1]:
        for other in leaves(val.dataset):
            check_same_classes(part, other)
    with redirect_stdout(io.StringIO()):
        evaluator = MultiSourceEvaluator({source.name: source})
        evaluator.set_dataset_meta(source.name, getattr(val.dataset, 'metainfo', {}))
        val.notes += evaluator.compare_images(source.name, val.dataset)


def _check_files(report: SplitReport) -> list[int]:
    """Open all files of the images that are checked, and return the images of which all can be read."""
    infos = ((index, report.info(index)) for index in report.checked)
    files = [(index, key, info[key]) for index, info in infos for key in _FILES if info.get(key)]
    unreadable = set()
    # Decoding and waiting for a network drive both leave the interpreter free for other threads.
    with _unlimited_pictures(), ThreadPoolExecutor() as pool:
        opened = pool.map(_open, (path for _, _, path in files))
        for (index, key, path), (size, reason) in zip(files, opened, strict=True):
            if reason is not None:
                report.add(str(path), reason)
                unreadable.add(index)
            elif size is not None and key == 'img_path':
                report.sizes.append(size)
    return [index for index in report.checked if index not in unreadable]


@contextmanager
def _unlimited_pictures() -> Iterator[None]:
    """Pillow refuses, or warns of, pictures that OpenCV reads."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _open(path: str) -> tuple[tuple[int, int] | None, str | None]:
    """Return a picture's width and height, or why it cannot be read."""
    length = ''
    try:
        if osp.exists(path):
            if not osp.isfile(path):  # reading a pipe would never end
                return None, 'is no file, but a folder, a pipe or a device'
            length = f' ({osp.getsize(path):,} bytes)'
        # OpenCV, which the pipelines read with, fills up what a truncated file lacks and says nothing.
        with Image.open(path) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None, f'is of {image.width} x {image.height} pixels, more than OpenCV reads ({_MOST_PIXELS:,})'
            image.load()
            return image.size, None
    except FileNotFoundError:
        return None, f'is a link to {os.readlink(path)}, which does not exist' if osp.islink(path) else 'does not exist'
    except Exception as error:  # whatever a decoder raises on foreign bytes
        return None, f'cannot be read{length}: {one_line(error)}'


def _check_classes(report: SplitReport, source: Source) -> bool:
    """Return whether the network's heads have as many classes as the dataset, as far as both say."""
    heads = settings_named('num_classes', source.network) if report.classes else ()
    if stray := stray_names(classes_of(report.dataset)):
        report.add(_DATASET, f'takes {stray} for classes, which other programs leave behind: delete these folders')
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
            report.add('its pipeline', one_line(error))
            return
    for part in leaves(report.dataset):
        found = values_of_maps(part, ignored_value(source, part), len(report.checked))
        problem, note = (found.problem(), found.note()) if found else (None, None)
        if problem:
            report.add('its label maps', problem)
        elif note:
            report.notes.append(note)


def _lenient(source: Source) -> Source:
    """The source, as one that leaves out what cannot be read: all of it is to be reported."""
    return replace(source, bad_data=BadData('skip', max_share=1.0))
