"""Whether a file is what was written."""

from __future__ import annotations

from io import BytesIO
from zipfile import ZipFile

from xlearner_mm.transfer.checkpoint.error import CheckpointError

_ZIP = b'PK\x03\x04'


def check_undamaged(path: str, data: bytes) -> None:
    """Compare every record of a checkpoint with its checksum: ``torch.load`` itself reads flipped bits as weights.

    ``torch.save`` stores a CRC-32 of each record. Files of torch before 1.6 have none and are not checked.

    Args:
        path: the file's name, for messages.
        data: its content.

    Raises:
        CheckpointError: cut short, or changed since it was written.
    """
    if not data.startswith(_ZIP):
        return
    try:
        with ZipFile(BytesIO(data)) as archive:
            broken = archive.testzip()
    except Exception as error:
        # What is damaged fails in whatever way zipfile meets its bytes.
        raise CheckpointError(f'checkpoint {path} is damaged: {error}; copy or save it again') from error
    if broken is not None:
        raise CheckpointError(
            f'checkpoint {path} is damaged: its record {broken} has changed since it was written; copy or save it again'
        )
