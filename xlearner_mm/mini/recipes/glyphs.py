"""Transfer sets of printed characters: letters in unseen typefaces, and pictograms."""

from __future__ import annotations

import numpy as np

from xlearner_mm.mini import canvas, stencil
from xlearner_mm.mini.catalog import CATALOG
from xlearner_mm.mini.recipes.forms import PICTOGRAMS
from xlearner_mm.mini.recipes.objects import centred_pose, stand_out
from xlearner_mm.mini.sample import Sample

TRAIN_FONTS = (
    'DejaVuSans', 'DejaVuSans-Bold', 'DejaVuSansMono', 'DejaVuSerif', 'DejaVuSerif-Bold',
    'STIXGeneral', 'STIXGeneralBolIta',
)  # fmt: skip
TEST_FONTS = (
    'cmr10', 'cmb10', 'cmss10', 'cmtt10', 'cmti10',
    'DejaVuSansMono-Oblique', 'DejaVuSerif-Italic', 'STIXGeneralItalic',
)  # fmt: skip


def letters(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return a capital letter; held-out letters are in typefaces of their own."""
    names = CATALOG['letters'].classes
    label = index % len(names)
    fonts = TEST_FONTS if held_out else TRAIN_FONTS
    form = stencil.glyph(names[label], fonts[rng.integers(len(fonts))])
    mask = form.mask(centred_pose(rng, 36, 54, 12))
    picture = stand_out(rng, canvas.any_ground(rng), mask, 75)
    return Sample(canvas.expose(rng, picture), label=label)


def symbols(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return a pictogram."""
    names = CATALOG['symbols'].classes
    label = index % len(names)
    mask = stencil.glyph(PICTOGRAMS[names[label]]).mask(centred_pose(rng, 34, 56, 30))
    picture = stand_out(rng, canvas.any_ground(rng), mask, 75)
    return Sample(canvas.expose(rng, picture), label=label)
