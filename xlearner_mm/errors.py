"""What is wrong with a source, or with one of its images."""

from __future__ import annotations

from collections.abc import Collection

from xlearner_mm.nearest_name import nearest
from xlearner_mm.registry import missing_type


class SourceError(ValueError):
    """A source whose settings or data cannot work; the message names the source and the fix."""


class BadImageError(SourceError):
    """An image that cannot be trained or measured on, for its file or for its labels.

    Args:
        message: one line that names source, file, reason and fix.
        path: the file, or what stands for it. Defaults to ''.
        reason: what is wrong with it. Defaults to ''.
    """

    def __init__(self, message: str, path: str = '', reason: str = '') -> None:
        super().__init__(message)
        self.path, self.reason = path, reason


def bad_image(
    source: str, path: str, reason: str, mend: str = 'replace the file, or take it out of the annotations'
) -> BadImageError:
    """Return the error of one image of a source, its message with what to do."""
    message = f"source '{source}': {path} {reason}; {mend}"
    return BadImageError(message, path, reason)


def one_line(error: BaseException) -> str:
    """Return what an error says in one line, or its name if it says nothing; of an unknown type, where it is known."""
    return missing_type(error) or ' '.join(str(error).split()) or type(error).__name__


def told(error: BaseException) -> str:
    """Return kind and message of an error in one line."""
    said = one_line(error)
    return said if said == type(error).__name__ or missing_type(error) else f'{type(error).__name__}: {said}'


def refuse_unknown(owner: str, settings: Collection[str], known: Collection[str]) -> None:
    """Raise a SourceError for a setting that is not known, with the nearest one that is.

    Args:
        owner: whose settings they are, for the message.
        settings: their names.
        known: the names that there are.
    """
    for key in settings:
        if key not in known:
            raise SourceError(f"{owner}: unknown setting '{key}'{nearest(key, known)}")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file, what was found and what was expected."""
