"""Check the files of all sources before a job starts: missing, unreadable, or of other classes."""

from __future__ import annotations

import colorsys
import io
import os.path as osp
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from rich.console import Console
from rich.progress import track
from rich.table import Table

from xlearner_mm.config.options import load_config
from xlearner_mm.datasets.classes import check_same_classes, classes_of, stray_names, values_of_maps
from xlearner_mm.datasets.integrity.annotations import read_annotations
from xlearner_mm.datasets.integrity.images import guard, ignored_value
from xlearner_mm.datasets.integrity.picture import open_picture, unlimited_pictures
from xlearner_mm.datasets.stock_datasets import build_deferred, leaves
from xlearner_mm.errors import USER_ERRORS, BadImageError, describe_error, one_line, print_error
from xlearner_mm.evaluation import MultiSourceEvaluator
from xlearner_mm.sources import BadData, Source, settings_named, sources_of
from xlearner_mm.spread import spread

_FILES = ('img_path', 'seg_map_path')
_DATASET = 'its dataset'


@dataclass(frozen=True)
class Problem:
    """A fault that would stop or spoil a training.

    Args:
        source: the source's name.
        split: ``'train'`` or ``'val'``.
        place: the file, or the part of the source's settings.
        reason: the fault.
    """

    source: str
    split: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"source '{self.source}' ({self.split}): {self.place}: {self.reason}"


@dataclass
class SplitReport:
    """Findings in one split of one source.

    Args:
        source: the source's name.
        split: ``'train'`` or ``'val'``.
        dataset: the dataset, or None if it cannot be built.
        checked: indices of the opened images.
        sizes: widths and heights of the readable ones as they are loaded, in pixels.
        problems: all faults.
        notes: remarks that are no faults.
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
        """Annotations of one image; empty for datasets that have none."""
        return self.dataset.get_data_info(index) if hasattr(self.dataset, 'get_data_info') else {}

    def add(self, place: str, reason: Any) -> None:
        """Add a problem."""
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
            findings = read_annotations(_lenient(source), dataset, parts, notes=report.notes)
            for path, reason in findings.bad.items():
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
    """Report whatever is raised within as a problem."""
    try:
        yield
    except Exception as error:
        said = one_line(error) if isinstance(error, ValueError) else describe_error(error)
        report.add(_DATASET, said.removeprefix(f"source '{report.source}': "))


def _check_together(source: Source, train: SplitReport, val: SplitReport | None = None) -> None:
    """Compare the classes of both splits, and prepare the validation's metrics as a training does."""
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
    """Open the files of the checked images, and return the indices of readable images."""
    infos = ((index, report.info(index)) for index in report.checked)
    files = [(index, key, info[key]) for index, info in infos for key in _FILES if info.get(key)]
    unreadable = set()
    # Decoding and waiting for a network drive both leave the interpreter free for other threads.
    with unlimited_pictures(), ThreadPoolExecutor() as pool:
        opened = pool.map(partial(open_picture, as_shown=True), (path for _, _, path in files))
        for (index, key, path), (size, reason) in zip(files, opened, strict=True):
            if reason is not None:
                report.add(str(path), reason)
                unreadable.add(index)
            elif size is not None and key == 'img_path':
                report.sizes.append(size)
    return [index for index in report.checked if index not in unreadable]


def _check_classes(report: SplitReport, source: Source) -> bool:
    """Return whether the network's heads have as many classes as the dataset, where both are known."""
    heads = settings_named('num_classes', source.network) if report.classes else ()
    if stray := stray_names(classes_of(report.dataset)):
        report.add(_DATASET, f'takes {stray} for classes, which other programs leave behind: delete these folders')
        return False
    wrong = [(key, found) for key, found in heads if found != report.classes]
    for key, found in wrong:
        report.add(f'network.{key}', f'is {found}, but the dataset has {report.classes} classes')
    return not wrong


def _check_samples(report: SplitReport, source: Source, indices: list[int]) -> None:
    """Run the pipeline with all checks of a training: labels, boxes, label maps."""
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
    """Return the source with unreadable images skipped, so that all are reported."""
    return replace(source, bad_data=BadData('skip', max_share=1.0))


_LISTED = 20  # problems of one split that are written out


def check_config(config: str, samples: int | None = 100, sheet: str | None = None, options: Sequence[str] = ()) -> int:
    """Check all sources of a training config.

    Args:
        config: path of a text config.
        samples: images to open per split; None opens all. Defaults to 100.
        sheet: where to draw some images of every source. Defaults to None: nowhere.
        options: ``KEY=VALUE`` overrides of the config. Defaults to none.

    Returns:
        The exit status: 0, or 1 after any problem.
    """
    try:
        sources = sources_of(load_config(config, None, options, 'none'))
    except USER_ERRORS as error:
        return print_error(error)
    checking = track(sources.values(), 'checking sources', transient=True)
    reports = [report for source in checking for report in check_source(source, samples)]
    Console().print(_table(reports))
    unwritten = sheet is not None and not _write_sheet(sheet, reports)
    for report in reports:
        _print_problems(report)
    return int(unwritten or any(report.problems for report in reports))


def _write_sheet(sheet: str, reports: Sequence[SplitReport]) -> bool:
    try:
        save_contact_sheet(sheet, [report for report in reports if report.split == 'train'])
    except (OSError, ValueError) as error:  # Pillow knows a form by the end of its name
        print(f'error: {sheet} cannot be written: {error}', file=sys.stderr)
        return False
    print(f'wrote {sheet}')
    return True


def _table(reports: Sequence[SplitReport]) -> Table:
    table = Table(title='sources')
    for column in ('source', 'split'):
        table.add_column(column, no_wrap=True)
    for column in ('images', 'opened', 'classes', 'sizes', 'problems'):
        table.add_column(column, justify='right')
    for report in reports:
        found = (report.images, len(report.checked), report.classes)
        style = 'red' if report.problems else None
        table.add_row(
            report.source,
            report.split,
            *(f'{number:,}' if number else '-' for number in found),
            _sizes(report),
            str(len(report.problems)),
            style=style,
        )
    return table


def _sizes(report: SplitReport) -> str:
    """Return the sizes of the smallest and the largest picture."""
    if not report.sizes:
        return '-'
    by_area = sorted(report.sizes, key=lambda size: size[0] * size[1])
    smallest, largest = (f'{width}x{height}' for width, height in (by_area[0], by_area[-1]))
    return smallest if smallest == largest else f'{smallest} to {largest}'


def _print_problems(report: SplitReport) -> None:
    for note in report.notes:
        print(f"note: source '{report.source}' ({report.split}): {note}", file=sys.stderr)
    for problem in report.problems[:_LISTED]:
        print(f'error: {problem}', file=sys.stderr)
    more = len(report.problems) - _LISTED
    if more > 0:
        print(f"error: source '{report.source}' ({report.split}): and {more:,} more", file=sys.stderr)


_COLUMNS = 8
_TILE = 160  # side of a picture's place, in pixels
_TEXT = 14  # height of a line of text, in pixels
_IGNORED = 255


def save_contact_sheet(path: str | Path, reports: Sequence[SplitReport]) -> None:
    """Draw some pictures of every source, with class names, boxes or label maps over them.

    Args:
        path: the PNG to write; its folder is created.
        reports: one per source; those without readable pictures get an empty row.
    """
    height = _TILE + 2 * _TEXT
    sheet = Image.new('RGB', (_COLUMNS * _TILE, height * len(reports)), 'white')
    for row, report in enumerate(reports):
        top = row * height
        ImageDraw.Draw(sheet).text((2, top), f'{report.source}: {report.images:,} images', fill='black')
        for column, place in enumerate(spread(len(report.checked), _COLUMNS)):
            tile = _tile(report, report.info(report.checked[place]))
            if tile is not None:
                sheet.paste(tile, (column * _TILE, top + _TEXT))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _tile(report: SplitReport, info: Mapping[str, Any]) -> Image.Image | None:
    """Return a picture with its annotations, or None if it cannot be read."""
    try:
        return _drawn(classes_of(report.dataset), info, _is_rotated(report.dataset))
    except Exception:  # whatever a decoder raises; what is wrong with the picture is among the problems
        return None


def _is_rotated(dataset: Any) -> bool:
    """Return whether the dataset's pipeline loads pictures as their EXIF orientation shows them."""
    pipelines = [getattr(part, 'pipeline', None) for part in leaves(dataset)]
    loaders = [transform for pipeline in pipelines for transform in getattr(pipeline, 'transforms', ())]
    return not any(str(getattr(loader, 'color_type', '')).endswith('ignore_orientation') for loader in loaders)


def _drawn(classes: Sequence[str], info: Mapping[str, Any], rotated: bool) -> Image.Image | None:
    if not all(osp.isfile(info[key]) for key in ('img_path', 'seg_map_path') if info.get(key)):
        return None  # reading a pipe would never end
    with Image.open(info['img_path']) as file:
        image = (ImageOps.exif_transpose(file) if rotated else file).convert('RGB')
    if info.get('seg_map_path'):
        with Image.open(info['seg_map_path']) as file:
            image = _overlaid(image, np.array(file))
    scale = min((_TILE - 4) / image.width, (_TILE - 4) / image.height)
    image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    boxes = info.get('instances') or []
    pen = ImageDraw.Draw(image)
    for box in boxes:
        pen.rectangle([scale * v for v in box['bbox']], outline=_color(box['bbox_label']), width=2)
    tile = Image.new('RGB', (_TILE, _TILE + _TEXT), 'white')
    tile.paste(image, (2, 2))
    labels = np.ravel(info['gt_label']).tolist() if 'gt_label' in info else sorted({box['bbox_label'] for box in boxes})
    names = ', '.join(str(classes[i]) if i < len(classes) else f'class {i}' for i in labels)
    ImageDraw.Draw(tile).text((2, image.height + 3), names[:26], fill='black')
    return tile


def _overlaid(image: Image.Image, labels: np.ndarray) -> Image.Image:
    colors = np.array([_color(i) for i in range(256)], dtype=np.uint8)
    colors[_IGNORED] = 255
    overlay = Image.fromarray(colors[labels.astype(np.uint8)]).resize(image.size, Image.Resampling.NEAREST)
    return Image.blend(image, overlay, 0.5)


def _color(label: int) -> tuple[int, int, int]:
    # The golden ratio takes neighboring labels to far hues.
    r, g, b = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.9, 1.0)
    return round(r * 255), round(g * 255), round(b * 255)
