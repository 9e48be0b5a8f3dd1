"""Sources: many datasets in, one batch out."""

from xlearner_mm.datasets.collate import multi_source_collate
from xlearner_mm.datasets.multi_source_dataset import MultiSourceDataset
from xlearner_mm.datasets.multi_source_sampler import MultiSourceSampler
from xlearner_mm.datasets.source import Source, SourceError, parse_sources

__all__ = [
    'MultiSourceDataset',
    'MultiSourceSampler',
    'Source',
    'SourceError',
    'multi_source_collate',
    'parse_sources',
]
