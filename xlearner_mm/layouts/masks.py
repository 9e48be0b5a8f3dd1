"""Label maps: their values, and the classes these stand for."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from xlearner_mm.datasets.classes import shortened
from xlearner_mm.datasets.integrity.picture import open_picture, unlimited_pictures
from xlearner_mm.errors import SourceError, one_line
from xlearner_mm.layouts.folder import Folder
from xlearner_mm.layouts.names import ClassNames, find_class_names
from xlearner_mm.layouts.sampling import sample

IGNORED = 255
"""Value of a pixel without a class."""
_NO_CLASS = ('ignore', '__ignore__', 'ignored', 'unlabeled', 'unlabelled', 'void')
"""Names of the value 0 that say so of it."""
_READ = 500  # masks that are read where a file names the classes


@dataclass(frozen=True)
class MaskClasses:
    """Classes of label maps.

    Args:
        names: in label order.
        zero_is_none: True where 0 stands for no class, and the classes count from 1.
    """

    names: tuple[str, ...]
    zero_is_none: bool = False


def classes_of_masks(folder: Folder, train: Mapping[str, str], val: Mapping[str, str], seed: int) -> MaskClasses:
    """Return the classes of a folder's masks: of all of them, or of a sample where a file names the classes.

    Args:
        folder: for the masks, their errors and notes.
        train: image -> mask of the training part.
        val: image -> mask of the validation part.
        seed: of the sample.

    Raises:
        SourceError: masks that are no maps of class numbers, contradict the names, or train fewer than two classes.
        BadImageError: a mask that cannot be read, or is of another size than its image.
    """
    pairs = {**train, **val}
    for mask in pairs.values():
        if mask.lower().endswith(('.jpg', '.jpeg')):
            raise _lossy(folder, mask)
    stated = find_class_names(folder)
    chosen = list(pairs) if stated is None else sample(list(pairs), _READ, seed)
    values = _values(folder, {image: pairs[image] for image in chosen})
    none = {0} if stated is not None and _zero_is_none(stated) else set()
    if len(chosen) < len(pairs) and len(_used(values, train) - none) < 2:  # the sample may have missed a rare class
        values |= _values(folder, {image: mask for image, mask in pairs.items() if image not in values})
    where = {value: pairs[image] for image, found in values.items() for value in found}
    used, trained = sorted(_used(values, pairs)), _used(values, train)
    if len(trained) < 2:
        _refuse_one_class(folder, values, train)
    all_read = len(values) == len(pairs)
    classes = _numbered(folder, used) if stated is None else _named(folder, stated, used, where, all_read)
    names = dict(enumerate(classes.names, start=int(classes.zero_is_none)))
    if stated is not None and len(trained - none) < 2:
        _refuse_one_class(folder, values, train, stated)
    folder.note_some(
        f'classes without a pixel in the {sum(image in train for image in values):,} training masks that were read, '
        'but in validation, where they count as errors',
        [names[value] for value in used if value in names and value not in trained],
    )
    return classes


def _values(folder: Folder, pairs: Mapping[str, str]) -> dict[str, list[int]]:
    """Return image -> values of its mask."""
    with unlimited_pictures(), ThreadPoolExecutor() as pool:
        return dict(zip(pairs, pool.map(partial(_read, folder), pairs, pairs.values()), strict=True))


def _used(values: Mapping[str, Sequence[int]], images: Container[str]) -> set[int]:
    """Return the values of some images' masks that may be classes."""
    return {value for image, found in values.items() if image in images for value in found} - {IGNORED}


def _read(folder: Folder, image: str, mask: str) -> list[int]:
    """Return the values of a mask."""
    path = folder.at(mask)
    try:
        with Image.open(path) as opened:
            form, values = opened.format, np.asarray(opened)
    except Exception as error:  # whatever a decoder raises on foreign bytes
        raise folder.bad_image(mask, f'cannot be read: {one_line(error)}') from error
    if form == 'JPEG':
        raise _lossy(folder, mask)
    if values.ndim == 3:
        raise _several_bands(folder, mask, values)
    if values.dtype.kind not in 'biu' or values.min() < 0 or values.max() > IGNORED:
        raise _no_class_numbers(folder, mask, values)
    size, reason = open_picture(folder.at(image), decode=False, as_shown=True)
    if size is None:
        raise folder.bad_image(image, str(reason))
    if size != values.shape[::-1]:
        raise _other_size(folder, image, size, mask, values.shape[::-1])
    return np.unique(values).astype(int).tolist()


def _other_size(folder: Folder, image: str, shown: tuple[int, int], mask: str, of_mask: tuple[int, ...]) -> Exception:
    """Return the error of a mask of another size; one of swapped sides is turned: to resize it gives wrong labels."""
    stored, _ = open_picture(folder.at(image), decode=False)
    how, fix = '', 'resize the mask without interpolation, or remove both'
    if of_mask == shown[::-1]:
        fix = 'rotate the mask as the image is shown; do not resize it'
        if stored != shown:
            how = ' as its EXIF orientation shows it'
            fix += ', or remove the orientation from the image'
    return folder.bad_image(
        image,
        f'is of {shown[0]} x {shown[1]} pixels{how}, but its mask {folder.at(mask)} of {of_mask[0]} x {of_mask[1]}',
        fix,
    )


def _lossy(folder: Folder, mask: str) -> SourceError:
    return folder.refusal(
        'is a mask as JPEG, which changes class numbers; expected PNG: export all masks again as PNG (to convert them '
        'keeps the damage)',
        mask,
    )


def _no_class_numbers(folder: Folder, mask: str, values: np.ndarray) -> SourceError:
    expected = f'expected class numbers from 0 to 254, and {IGNORED} for none'
    if values.dtype.kind not in 'biu':
        fix = "save them as a PNG of 8 bits: Image.fromarray(values.astype('uint8')).save('x.png')"
        return folder.refusal(f'holds floating-point numbers ({values.dtype}); {expected}: {fix}', mask)
    wrong = values.min() if values.min() < 0 else values.max()
    return folder.refusal(f'has the value {wrong}; {expected}: number the classes so', mask)


def _several_bands(folder: Folder, mask: str, values: np.ndarray) -> SourceError:
    colors = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
    if (colors == colors[..., :1]).all():
        what, fix = 'all equal', "save one band: Image.open(file).convert('L').save(file)"
    else:
        count = len(np.unique(colors.reshape(-1, colors.shape[2]), axis=0))
        what, fix = f'of {count} colors', 'write the number of its class to each pixel in place of a color'
    return folder.refusal(
        f'is a mask of {values.shape[2]} bands, {what}; expected one band (gray or palette PNG): {fix}', mask
    )


def _refuse_one_class(
    folder: Folder, values: Mapping[str, Sequence[int]], train: Mapping[str, str], none_by: ClassNames | None = None
) -> None:
    """Raise a SourceError: training masks hold one class alone, where ``none_by`` says that 0 is none."""
    first = next(image for image in values if image in train)
    found = sorted({value for image, found in values.items() if image in train for value in found})
    held = shortened([str(value) for value in found])
    beside, fixes = '', []
    if none_by is not None and 0 in found:
        named = next((name for value, name in sorted(none_by.names.items()) if value), 'NAME')
        beside = f' beside 0, which is none by {none_by.file}'
        fixes.append(f"name 0 as a class in {none_by.file}, as '0 background' and '1 {named}' do")
    if IGNORED in found:
        beside += f', and {IGNORED} stands for no class'
        free = next(value for value in range(IGNORED) if value not in found)
        fixes.append(f'write {free} in place of {IGNORED}, if that is a class')
    raise folder.refusal(
        f'and the other training masks hold {held} alone{beside}; expected two classes: '
        f'{", or ".join([*fixes, "number and name another"])}',
        train[first],
    )


def _numbered(folder: Folder, used: Sequence[int]) -> MaskClasses:
    """Return classes called by the values that were found."""
    if used[-1] >= 4 * len(used):
        raise folder.refusal(
            f'has masks with the values {shortened([str(value) for value in used], 6)}; expected the class numbers '
            f'0, 1, 2 ...: number the classes so, or name all {used[-1] + 1} in classes.txt'
        )
    names = tuple(f'class {value}' for value in range(used[-1] + 1))
    folder.notes.append('no file names its classes: they are called by value; a classes.txt names them')
    folder.note_some('classes in no mask', [name for value, name in enumerate(names) if value not in used])
    return MaskClasses(names)


def _zero_is_none(stated: ClassNames) -> bool:
    return stated.names.get(0, _NO_CLASS[0]).lower() in _NO_CLASS


def _names_that_lack_zero(names: Mapping[int, str]) -> str:
    """Return the end of a message about names, one less than values, of which that of 0 may be missing."""
    if len(names) > 1:
        return ", or write '1 NAME' and so on if 0 stands for no class"
    # Where 0 stands for no class, the other one would be alone, and refused.
    return '' if names[0].lower() == 'background' else f", such as '0 background' and '1 {names[0]}'"


def _named(
    folder: Folder, stated: ClassNames, used: Sequence[int], where: Mapping[int, str], all_read: bool
) -> MaskClasses:
    """Return the classes of a file that names them."""
    names = dict(stated.names)
    zero_is_none = _zero_is_none(stated)
    if zero_is_none:
        names.pop(0, None)
    first = int(zero_is_none)
    if sorted(names) != list(range(first, first + len(names))):
        raise folder.refusal(
            f'numbers its classes {shortened([str(n) for n in names], 8)}; expected no gap', stated.file
        )
    unnamed = [value for value in used if value not in names and not (zero_is_none and value == 0)]
    if unnamed:
        also = _names_that_lack_zero(names) if unnamed == [len(names)] and not zero_is_none else ''
        raise folder.refusal(
            f'names {len(names)} classes, of the values {first} to {first + len(names) - 1}, but {where[unnamed[-1]]} '
            f'has {unnamed[-1]}: add the missing names{also}',
            stated.file,
        )
    if zero_is_none:
        folder.notes.append(f'0 stands for no class in its masks, as {stated.file} says: it is ignored')
    if all_read:
        folder.note_some(f'classes of {stated.file} in no mask', [n for value, n in names.items() if value not in used])
    return MaskClasses(tuple(names.values()), zero_is_none)
