"""Errors that a user can fix, and their one line on the command line.

ConfigError
SourceError
BadImageError
CheckpointError
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection

from xlearner_mm.nearest_name import nearest


class ConfigError(ValueError):
    """A setting that cannot work; the message names the setting, what was found, what was expected and the fix."""


class SourceError(ConfigError):
    """A source whose settings or data cannot work; the message names the source and the fix."""


class BadImageError(SourceError):
    """An image that cannot be used for training or measured, because of its file or its labels.

    Args:
        message: one line that names source, file, reason and fix.
        path: the file, or the item's description where there is none. Defaults to ''.
        reason: what is wrong with it. Defaults to ''.
    """

    def __init__(self, message: str, path: str = '', reason: str = '') -> None:
        super().__init__(message)
        self.path, self.reason = path, reason


class CheckpointError(ConfigError):
    """A checkpoint that cannot be used; the message names the file, what was found and what was expected."""


USER_ERRORS = (ConfigError, FileNotFoundError)
"""Bad input: a command ends with its one line, not with a traceback."""


def bad_image(
    source: str, path: str, reason: str, fix: str = 'replace the file, or remove it from the annotations'
) -> BadImageError:
    """Return the error of one image of a source, with the fix in its message."""
    return BadImageError(f"source '{source}': {path} {reason}; {fix}", path, reason)


def one_line(error: BaseException) -> str:
    """Return an error's message in one line, or its class name if it has none; for an unknown type, who has it."""
    from xlearner_mm.registry import missing_type  # MMEngine: tools that run without it raise these errors too

    return missing_type(error) or ' '.join(str(error).split()) or type(error).__name__


def message_line(error: object) -> str:
    """Return the line of an error that a command ends with: all of ours, and the first line of a library's.

    Ours may quote a library's message of several lines before their fix; a library's own may end in a trace. That of a
    loader's worker holds a whole traceback, whose last line is the message.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if 'in DataLoader worker' in lines[0]:
        return re.sub(r'^[\w.]+Error: ', '', lines[-1])
    return ' '.join(' '.join(lines).split()) if isinstance(error, ConfigError) else lines[0]


def describe_error(error: BaseException) -> str:
    """Return class name and message of an error in one line."""
    from xlearner_mm.registry import missing_type

    message = one_line(error)
    return message if message == type(error).__name__ or missing_type(error) else f'{type(error).__name__}: {message}'


def print_error(error: object, prefix: str = '') -> int:
    """Print an error's :func:`message_line` to stderr, and return the exit status of the command: 1."""
    print(f'error: {prefix}{message_line(error)}', file=sys.stderr)
    return 1


def refuse_unknown(
    owner: str, settings: Collection[str], known: Collection[str], error: type[ConfigError] = ConfigError
) -> None:
    """Refuse unknown settings, and name the nearest known one.

    Args:
        owner: whose settings they are, for the message.
        settings: their names.
        known: the known names.
        error: class of the error. Defaults to :class:`ConfigError`.

    Raises:
        ConfigError: a setting is not known.
    """
    for key in settings:
        if key not in known:
            raise error(f"{owner}: unknown setting '{key}'{nearest(key, known)}")
