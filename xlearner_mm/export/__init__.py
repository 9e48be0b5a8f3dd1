"""The backbone out of a stage's checkpoint, as a file of its own that others can use."""

from xlearner_mm.export.card import publish_backbone
from xlearner_mm.export.exporter import FORMATS, export_backbone

__all__ = ['FORMATS', 'export_backbone', 'publish_backbone']
