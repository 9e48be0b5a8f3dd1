"""Tiny models and tiny sources, for our tests and for users' own."""

from xlearner_mm.testing.tiny_models import (
    CHANNELS,
    tiny_classifier,
    tiny_detector,
    tiny_expanded,
    tiny_resnet,
    tiny_resnet_ending_at,
    tiny_segmentor,
)
from xlearner_mm.testing.tiny_sources import TinyIndexDataset, index_sources, tiny_batch, tiny_sources

__all__ = [
    'CHANNELS',
    'TinyIndexDataset',
    'index_sources',
    'tiny_batch',
    'tiny_classifier',
    'tiny_detector',
    'tiny_expanded',
    'tiny_resnet',
    'tiny_resnet_ending_at',
    'tiny_segmentor',
    'tiny_sources',
]
