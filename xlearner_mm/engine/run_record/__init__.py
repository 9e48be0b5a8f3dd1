"""What a work directory says of each start of its training."""

from xlearner_mm.engine.run_record.file import RECORD, add_start, read_starts
from xlearner_mm.engine.run_record.start import describe_start

__all__ = ['RECORD', 'add_start', 'describe_start', 'read_starts']
