"""Writers of the on-disk layouts that stock dataset classes read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from xlearner_mm.mini.catalog import Layout, MiniSet
from xlearner_mm.mini.layouts import class_folders, coco, nyu, seg_dirs, voc_det, voc_seg
from xlearner_mm.mini.sample import Sample

Writer = Callable[[Path, MiniSet, str, Iterable[Sample]], None]

WRITERS: dict[Layout, Writer] = {
    Layout.CLASS_FOLDERS: class_folders.write_jpg,
    Layout.CLASS_FOLDERS_PNG: class_folders.write_png,
    Layout.COCO: coco.write,
    Layout.SEG_DIRS: seg_dirs.write,
    Layout.VOC_DET: voc_det.write,
    Layout.VOC_SEG: voc_seg.write,
    Layout.NYU: nyu.write,
}
"""Writes one split of a set below a folder: ``writer(root, entry, split, samples)``."""
