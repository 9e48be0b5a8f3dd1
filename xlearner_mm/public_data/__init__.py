"""Public datasets, in the folders where our configs look for them."""

from xlearner_mm.public_data.catalog import PUBLIC, PublicSet
from xlearner_mm.public_data.fetch import download_sets, list_sets

__all__ = ['PUBLIC', 'PublicSet', 'download_sets', 'list_sets']
