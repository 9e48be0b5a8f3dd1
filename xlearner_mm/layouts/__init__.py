"""Folders of labeled images, recognized as settings of stock datasets."""

from xlearner_mm.layouts.layout import Layout, Objects, Sizes, Split, describe
from xlearner_mm.layouts.recognition import recognize

__all__ = ['Layout', 'Objects', 'Sizes', 'Split', 'describe', 'recognize']
