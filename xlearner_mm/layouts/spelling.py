"""Spellings of classes: of those in validation alone, which are left out or refused, and of trained ones."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from xlearner_mm.datasets.classes import did_you_mean
from xlearner_mm.layouts.folder import Folder


def note_untrained(folder: Folder, name: str, left_out: str, others: Iterable[str]) -> None:
    """Note a class in validation alone, and a near name: that may be another class, as ``Parus minor`` is.

    Args:
        folder: for the note and the error.
        name: the class.
        left_out: its images or objects, with their number.
        others: the classes in training alone.

    Raises:
        SourceError: it is one of the others in another spelling, see :func:`spelling`.
    """
    others = list(others)
    for other in others:
        if spelling(other) == spelling(name):
            raise folder.refusal(
                f"has the class '{name}' in validation alone; is '{name}' their '{other}'? If so, rename it; else give "
                'it training images'
            )
    near = did_you_mean(name, others)
    folder.notes.append(f"class '{name}' is in validation alone: its {left_out} are left out{near}")


def note_spellings(folder: Folder, classes: Iterable[str]) -> None:
    """Note the trained classes that are spellings of one name, see :func:`spelling`; they stay apart."""
    groups = defaultdict(list)
    for name in classes:
        groups[spelling(name)].append(name)
    folder.note_some(
        'classes that differ by case, spaces or punctuation alone, rename them if they are one',
        [' and '.join(names) for names in groups.values() if len(names) > 1],
    )


def spelling(name: str) -> str:
    """Return what spellings of a name share: no case, spaces, hyphens or punctuation, but between digits (1.5, 15)."""
    text = unicodedata.normalize('NFKC', name).casefold()
    words = ''.join(' ' if unicodedata.category(each)[0] in 'ZPC' else each for each in text).split()
    return re.sub(r'(?<!\d) | (?!\d)', '', ' '.join(words)) or text
