"""XL-Photo: small sets of photographs from public repositories, in the formats of the real data sets.

``CATALOG`` lists the sets, ``make_photos`` converts them, ``check_photos`` says which of them cannot be used and why.
"""

from xlearner_mm.photos.build import check_photos, check_photos_of, clone_commands, make_photos
from xlearner_mm.photos.catalog import CATALOG, VERSION, PhotoSet

__all__ = ['CATALOG', 'VERSION', 'PhotoSet', 'check_photos', 'check_photos_of', 'clone_commands', 'make_photos']
