"""How the pictures of each set are composed.

A recipe is a function ``(rng, index, held_out) -> Sample``. Every picture is a pure function of
these three, so that a set has the same bytes whatever was generated before it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xlearner_mm.mini.recipes import depth, objects, scenes
from xlearner_mm.mini.sample import Sample

Recipe = Callable[[np.random.Generator, int, bool], Sample]

RECIPES: dict[str, Recipe] = {
    'digits': objects.digits,
    'shapes': objects.shapes,
    'textures': objects.textures,
    'det_shapes': scenes.det_shapes,
    'det_digits': scenes.det_digits,
    'seg_things': scenes.seg_things,
    'letters': objects.letters,
    'patterns': objects.patterns,
    'counting': objects.counting,
    'symbols': objects.symbols,
    'face_tilt': objects.face_tilt,
    'voc_mini': scenes.voc_det,
    'voc_seg_mini': scenes.voc_seg,
    'nyu_mini': depth.room,
}
"""The recipe of every set in ``CATALOG``."""
