"""XL-Mini: small sources and transfer sets, written to disk in the formats of the real ones.

``CATALOG`` lists the sets, ``make_mini`` writes them. The pictures are composed from what
scikit-learn, scikit-image and matplotlib carry in their wheels (handwritten digits, faces,
photographs, surfaces, typefaces) and from rendered shapes and patterns; nothing is downloaded.
"""

from xlearner_mm.mini.build import MARKER, is_complete, make_mini
from xlearner_mm.mini.catalog import CATALOG, VERSION, Layout, MiniSet
from xlearner_mm.mini.material import MaterialError

__all__ = [
    'CATALOG',
    'MARKER',
    'VERSION',
    'Layout',
    'MaterialError',
    'MiniSet',
    'is_complete',
    'make_mini',
]
