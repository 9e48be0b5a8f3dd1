"""The one line that a command ends with."""

import re

import pytest

from xlearner_mm.errors import ConfigError, SourceError, message_line

TRACEBACK = """Caught SourceError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "loader.py", line 1, in fetch
xlearner_mm.errors.SourceError: source 'pets': 0.jpg cannot be read; replace the file"""


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (
            ConfigError('data.yaml is not YAML: a colon\n  in line 3\n    ^; correct it'),
            '.yaml .* colon in line 3 .*correct it',
        ),
        (SourceError(TRACEBACK), "^source 'pets': 0.jpg cannot be read; replace the file"),
        (FileNotFoundError('no such file\nframe #0'), '^no such file$'),
        ('said as it is', 'said as it is'),
        (ConfigError(), 'ConfigError'),
    ],
)
def test_the_fix_of_an_error_of_ours_is_in_its_line_and_no_trace(error, line):
    assert re.search(line, message_line(error))
    assert '\n' not in message_line(error)
