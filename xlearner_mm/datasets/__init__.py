"""Sources: many datasets in, one batch out."""

from xlearner_mm.datasets.inat2021 import INat2021
from xlearner_mm.datasets.multi_source_dataset import MultiSourceDataset, multi_source_collate
from xlearner_mm.datasets.multi_source_sampler import MultiSourceSampler
from xlearner_mm.datasets.places365 import Places365
from xlearner_mm.datasets.stanford_dogs import StanfordDogs
from xlearner_mm.sources import Source, parse_sources

__all__ = [
    'INat2021',
    'MultiSourceDataset',
    'MultiSourceSampler',
    'Places365',
    'Source',
    'StanfordDogs',
    'multi_source_collate',
    'parse_sources',
]
