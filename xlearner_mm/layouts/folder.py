"""The files of a folder: which are images, which are labels, and of which part."""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.datasets.classes import shortened, stray_names
from xlearner_mm.errors import BadImageError, SourceError, bad_image

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
_UNREAD = 'gif jfif jpe heic heif avif jp2 jxl tga svg psd exr hdr dcm npy npz raw cr2 nef arw dng'
OTHER_PICTURES = tuple(f'.{suffix}' for suffix in _UNREAD.split())
"""Suffixes of pictures that are not read."""
PARTS = {
    'train': ('train', 'training', 'trainval'),
    'val': ('val', 'valid', 'validation', 'dev'),
    'test': ('test', 'testing'),
}
"""Part -> names of its folders and files."""
PART_OF = {word: part for part, words in PARTS.items() for word in words}
"""Name -> part."""
_IMAGES = ('images', 'image', 'imgs', 'img', 'img_dir', 'jpegimages', 'pictures', 'photos', 'leftimg8bit')
_LABELS = (
    *('labels', 'label', 'annotations', 'annotation', 'annots', 'annot', 'anns', 'ann', 'ann_dir', 'xmls', 'xml'),
    *('masks', 'mask', 'segmentationclass', 'gtfine', 'gt', 'ground_truth', 'groundtruth', 'seg_maps'),
)
_ROLE_OF = dict.fromkeys(_IMAGES, 'image') | dict.fromkeys(_LABELS, 'label')


def _either(words: Sequence[str]) -> str:
    return '|'.join(sorted(words, key=len, reverse=True))


_PART = _either(list(PART_OF))
_COMPONENT = re.compile(
    rf'(?P<before>{_PART})?(?:20\d\d)?[ _-]?(?P<role>{_either(list(_ROLE_OF))})?[ _-]?(?P<after>{_PART})?(?:20\d\d)?',
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Place:
    """Meaning of the names of a folder and those above it.

    Args:
        part: ``'train'``, ``'val'``, ``'test'``, or None where no name says it.
        role: ``'image'``, ``'label'``, or None.
        rest: what these names leave, and the part: the same for an image and its label.
    """

    part: str | None
    role: str | None
    rest: str


@lru_cache(maxsize=65536)
def place(folder: str) -> Place:
    """Return the meaning of a relative folder's names, such as ``train/images`` or ``labels/val2017``."""
    part = role = None
    rest = []
    for name in filter(None, folder.split('/')):
        found = _COMPONENT.fullmatch(name)
        word = found and (found['after'] or found['before'])
        if found is None or not (word or found['role']):
            rest.append(name)
            continue
        part = PART_OF[word.lower()] if word else part
        role = _ROLE_OF[found['role'].lower()] if found['role'] else role
    return Place(part, role, '/'.join([*rest, part or '']))


def part_of_name(name: str) -> str | None:
    """Return the part that a file's name states among its words, as ``instances_val2017.json`` does."""
    words = [word for word in re.split(r'[^a-z]+', PurePosixPath(name).name.lower()) if word in PART_OF]
    return PART_OF[words[-1]] if words else None


def key_of(path: str, tail: str = '') -> str:
    """Return the key that an image and its label file share: the folders without roles, and the name without suffix.

    Args:
        path: of the file, relative to the folder.
        tail: end of the name before the suffix that is left out, such as ``'_mask'``. Defaults to ''.
    """
    folder, _, name = path.rpartition('/')
    return _same_text(f'{place(folder).rest}/{os.path.splitext(name)[0].removesuffix(tail)}')


def is_image(path: str) -> bool:
    """Return whether a file's suffix is that of an image."""
    return path.lower().endswith(IMAGE_SUFFIXES)


@dataclass
class Folder:
    """A folder given for a source.

    Args:
        source: the source's name.
        path: the folder with the data: the one given, or below it the only one.
        index: folder for the small files that a stock dataset reads in place of labels in other forms.
        files: all files by path relative to ``path``, sorted, without hidden ones and those of other programs.
        strays: folders that are left out, and that stock datasets may read: hidden ones, those of other programs, and
            links to folders that are read already.
        notes: what was handled and should be said.
    """

    source: str
    path: Path
    index: Path
    files: list[str]
    strays: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, source: str, given: str | os.PathLike[str], index: Path) -> Folder:
        """List the files of a folder; one that holds nothing but another folder stands for that.

        Raises:
            SourceError: no folder, or no image in it.
        """
        path = Path(given)
        if not path.is_dir():
            found = 'is a file' if path.exists() else 'does not exist'
            raise SourceError(f"source '{source}': {path} {found}: give the folder that holds images and labels")
        files, strays, links = _listed(path)
        while len(tops := {file.split('/')[0] for file in files if not _is_about(file)}) == 1:
            top = tops.pop()
            below = [file.removeprefix(f'{top}/') for file in files if file.startswith(f'{top}/')]
            if not any('/' in file for file in below):
                break
            path, files = path / top, below
            strays = [stray.removeprefix(f'{top}/') for stray in strays if stray.startswith(f'{top}/')]
        folder = cls(source, path, index, files, strays)
        folder.note_some('links to folders that are read already, left out', links)
        if not folder.images:
            kinds = shortened(sorted({PurePosixPath(file).suffix or 'no suffix' for file in files}), 5)
            found = f'holds no image, but {len(files):,} other file(s) ({kinds})' if files else 'is empty'
            raise folder.refusal(
                f'{found}; expected files ending in {", ".join(IMAGE_SUFFIXES)}: give the folder with images and labels'
            )
        return folder

    def at(self, file: str = '') -> str:
        """Return the path of one of its files; pathlib would take longer than reading small ones."""
        return os.path.join(self._root, file) if file else self._root

    @cached_property
    def _root(self) -> str:
        return str(self.path)

    def has_strays(self, below: str = '') -> bool:
        """Return whether folders below one are left out that a stock dataset, which walks it, would read."""
        return any(stray.startswith(f'{below}/' if below else '') for stray in self.strays)

    @cached_property
    def images(self) -> list[str]:
        """All images, masks among them."""
        return [file for file in self.files if is_image(file)]

    @cached_property
    def unread_pictures(self) -> list[str]:
        """All pictures in forms that are not read."""
        return [file for file in self.files if file.lower().endswith(OTHER_PICTURES)]

    @cached_property
    def pictures(self) -> list[str]:
        """All images that are in no folder of labels."""
        return [image for image in self.images if place(os.path.dirname(image)).role != 'label']

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for image in self.images:
            name = _same_text(image.rsplit('/', 1)[-1])
            found[name].append(image)
            found[os.path.splitext(name)[0]].append(image)
        return found

    @cached_property
    def _by_name_in_any_case(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for image in self.images:
            found[_same_text(image.rsplit('/', 1)[-1]).casefold()].append(image)
        return found

    @cached_property
    def images_by_key(self) -> dict[str, str]:
        """Key -> image in no folder of labels, see :func:`key_of`.

        Raises:
            SourceError: two images that differ in their suffix alone.
        """
        found: dict[str, str] = {}
        for image in self.pictures:
            other = found.setdefault(key_of(image), image)
            if other != image:
                raise self.refusal(f'holds {other} and {image}, and one label is for both: rename or remove one')
        return found

    def candidates(self, named: str, part: str | None = None) -> list[str]:
        """Return the images that a label file may name: those whose folders agree best.

        A name with a suffix that no image has is looked for in any case, as Windows does.

        Args:
            named: path in another folder, or name, with or without suffix.
            part: the part of the label file, which decides between images of the same name. Defaults to None.
        """
        wanted = [each for each in _same_text(named.strip().replace('\\', '/')).split('/') if each not in ('', '.')]
        found = self._by_name.get(wanted[-1], []) if wanted else []
        if not found and wanted and is_image(wanted[-1]):
            found = self._by_name_in_any_case.get(wanted[-1].casefold(), [])
        if len(found) < 2:
            return found
        shared = {image: _shared(_same_text(image).split('/')[:-1], wanted[:-1]) for image in found}
        found = [image for image in found if shared[image] == max(shared.values())]
        return [image for image in found if place(os.path.dirname(image)).part == part] or found

    def resolve(self, named: str, part: str | None = None, file: str = '') -> str | None:
        """Return the image that a label file names, or None; arguments as of :meth:`candidates`, and that file.

        Raises:
            SourceError: several images are as near.
        """
        found = self.candidates(named, part)
        if len(found) > 1:
            where = f' in {file}' if file else ''
            raise self.refusal(
                f"holds several images for the name '{named}'{where} ({shortened(found)}): write their paths from the "
                'folder'
            )
        return found[0] if found else None

    def write(self, name: str, text: str) -> str:
        """Write a file of the index if its content is new, and return its path.

        Raises:
            SourceError: a file name that is no text.
        """
        path = self.index / name
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            named = text[: error.end].splitlines()[-1]
            raise self.refusal(f'holds a file whose name is not UTF-8 ({named!r}): rename it') from error
        if not path.is_file() or path.read_bytes() != content:
            atomic_write_text(path, text)
        return str(path)

    def read_text(self, file: str) -> str:
        """Return a text in UTF-8 with or without a mark, UTF-16 with one, or the code of Windows in Western Europe."""
        with open(self.at(file), 'rb') as opened:
            content = opened.read()
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # of PowerShell's `>`
            return content.decode('utf-16', errors='replace')
        try:
            return content.decode('utf-8-sig')
        except UnicodeDecodeError:
            self.notes.append(f'{file} is not UTF-8: read as Windows-1252')
            return content.decode('cp1252', errors='replace')

    def refusal(self, problem: str, file: str = '') -> SourceError:
        """Return the error of the folder or one of its files; the problem continues its name."""
        return SourceError(f"source '{self.source}': {self.at(file)} {problem}")

    def bad_image(self, file: str, reason: str, fix: str = 'replace or remove the file') -> BadImageError:
        """Return the error of one image; the reason continues its path."""
        return bad_image(self.source, self.at(file), reason, fix)

    def note_some(self, what: str, files: Sequence[str]) -> None:
        """Add a note about some files, if there are any."""
        if files:
            self.notes.append(f'{what}: {len(files):,} ({shortened(files)})')


def take_test(folder: Folder, parts: dict[str, Any]) -> None:
    """Validate on the test part where there is no validation part, and leave it out otherwise."""
    test = parts.pop('test', None)
    if test is not None and 'val' in parts:
        folder.notes.append('its test part is not used: there is a validation part')
    elif test is not None:
        parts['val'] = test
        folder.notes.append('its test part is used for validation: there is no other')


def _listed(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the files below a folder, the folders that are left out, and those of these that are read elsewhere.

    Links to folders are read after all others, so that of a folder and links to it the folder is taken.
    """
    found: list[str] = []
    strays: list[str] = []
    links: list[str] = []
    visited: dict[str, str] = {}
    pending = [str(path)]
    while pending:
        for top, folders, files in os.walk(pending.pop(0)):
            below = '' if top == str(path) else os.path.relpath(top, path) + '/'
            first = visited.setdefault(os.path.realpath(top), below)
            if first != below:
                links.append(f'{below} is {first or "./"}')
                strays.append(below.rstrip('/'))
                folders.clear()
                continue
            stray = set(stray_names(folders))
            folders[:] = sorted(folder for folder in folders if folder not in stray)
            pending += [link for folder in folders if os.path.islink(link := os.path.join(top, folder))]
            strays += [below + folder for folder in stray]
            found += [below + file for file in files if not file.startswith('.')]
    return sorted(found), strays, links


def _is_about(file: str) -> bool:
    return '/' not in file and file.lower().startswith(('readme', 'license'))


def _same_text(name: str) -> str:
    """Return one spelling of an umlaut, which some systems write as two characters."""
    return unicodedata.normalize('NFC', name)


def _shared(folders: list[str], named: list[str]) -> int:
    """Return how many folders two paths share, counted from the file."""
    count = 0
    while count < min(len(folders), len(named)) and folders[-1 - count] == named[-1 - count]:
        count += 1
    return count
