from __future__ import annotations

import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from xlearner_mm.mini import CATALOG, MaterialError, material
from xlearner_mm.mini.recipes import PICTOGRAMS, TEST_FONTS, TRAIN_FONTS


def test_material_is_in_the_wheels():
    assert all(material.photograph(name).mode == 'RGB' for name in material.PHOTOGRAPHS)
    assert all(material.surface(name).size == (512, 512) for name in material.SURFACES)
    assert material.faces(False).shape == (70, 25, 25)


def test_handwriting_and_faces_are_split():
    for digit in range(10):
        train, val = (material.digit_scans(digit, held_out) for held_out in (False, True))
        assert len(train) >= 130
        assert len(val) >= 43
    assert len(material.faces(True)) == 30


def test_typefaces_are_split_and_have_every_letter():
    assert not set(TRAIN_FONTS) & set(TEST_FONTS)
    for font in (*TRAIN_FONTS, *TEST_FONTS):
        face = FT2Font(str(material.font_file(font)))
        assert all(face.get_char_index(ord(c)) for c in CATALOG['letters'].classes), font


def test_the_font_has_every_pictogram():
    face = FT2Font(str(material.font_file('DejaVuSans')))
    assert all(face.get_char_index(ord(c)) for c in PICTOGRAMS.values())


def test_missing_material_is_named_with_the_fix():
    with pytest.raises(MaterialError, match=r'NoSuchFont\.ttf.*pip install .*matplotlib'):
        material.font_file('NoSuchFont')


def test_faces_are_pictures():
    faces = material.faces(False)
    assert 0 <= faces.min() < faces.max() <= 1
    assert np.median(faces.std((1, 2))) > 0.1
