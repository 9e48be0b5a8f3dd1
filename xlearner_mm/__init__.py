"""X-Learner for the OpenMMLab ecosystem.

``custom_imports = dict(imports=['xlearner_mm'])`` in a config registers everything of ours in MMEngine's root
registries. :class:`XLearnerRunner` trains one from Python. :func:`get_backbone` and :func:`extract_features` need no
config at all.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from xlearner_mm.version import __version__

if TYPE_CHECKING:
    from xlearner_mm.engine.runner import XLearnerRunner
    from xlearner_mm.export.backbone import get_backbone
    from xlearner_mm.export.features import extract_features

__all__ = ['XLearnerRunner', '__version__', 'extract_features', 'get_backbone']

# Imported when first asked for: few programs need any.
_DOORS = {
    'XLearnerRunner': 'xlearner_mm.engine.runner',
    'extract_features': 'xlearner_mm.export.features',
    'get_backbone': 'xlearner_mm.export.backbone',
}

# What must answer where the stack is broken, missing, or merely slow to import.
_STANDALONE_MODULES = ('xlearner_mm.doctor',)
_STANDALONE_TOOLS = ('make_mini.py',)


def _imported_by_standalone() -> bool:
    """Whether this process runs a program of ours that needs nothing registered."""
    program = sys.argv[0] if sys.argv else ''
    if program == '-m':
        return any(module in getattr(sys, 'orig_argv', []) for module in _STANDALONE_MODULES)
    return os.path.basename(program) in _STANDALONE_TOOLS


if not _imported_by_standalone():
    from mmengine.config.utils import MODULE2PACKAGE

    from xlearner_mm import checkpoint, datasets, engine, evaluation, models  # noqa: F401

    # `_base_ = 'xlearner_mm::...'` and 'mmseg::...' are looked up in this table, which lacks both.
    MODULE2PACKAGE.update(xlearner_mm='xlearner_mm', mmseg='mmseg')


def __getattr__(name: str) -> Any:
    if name not in _DOORS:
        raise AttributeError(f"module 'xlearner_mm' has no attribute '{name}'")
    return getattr(import_module(_DOORS[name]), name)
