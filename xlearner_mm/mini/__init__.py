"""XL-Mini: small synthetic sources and transfer sets, in the on-disk formats of the real ones.

The pictures are composed of digits, faces, photographs, surfaces and typefaces in the wheels of scikit-learn,
scikit-image and matplotlib, and of rendered shapes and patterns; nothing is downloaded.
"""

from xlearner_mm.mini.build import MARKER, is_complete, make_mini
from xlearner_mm.mini.catalog import CATALOG, VERSION, Layout, MiniSet
from xlearner_mm.mini.material import MaterialError

__all__ = ['CATALOG', 'MARKER', 'VERSION', 'Layout', 'MaterialError', 'MiniSet', 'is_complete', 'make_mini']
