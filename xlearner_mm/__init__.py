"""X-Learner for the OpenMMLab ecosystem.

``custom_imports = dict(imports=['xlearner_mm'])`` in a config registers all classes in MMEngine's root registries.
:class:`XLearnerRunner` trains a config from Python; :func:`pretrain` writes configs for labeled folders and
trains them; :func:`get_backbone` and :func:`extract_features` need none.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from xlearner_mm.version import __version__

if TYPE_CHECKING:
    from xlearner_mm.engine.runner import XLearnerRunner
    from xlearner_mm.export.backbone import extract_features, get_backbone
    from xlearner_mm.pretraining.run import pretrain

__all__ = ['XLearnerRunner', '__version__', 'extract_features', 'get_backbone', 'pretrain']

# Imported on first access.
_LAZY = {
    'XLearnerRunner': 'xlearner_mm.engine.runner',
    'extract_features': 'xlearner_mm.export.backbone',
    'get_backbone': 'xlearner_mm.export.backbone',
    'pretrain': 'xlearner_mm.pretraining.run',
}

# Programs that must run where the libraries are broken or missing, or need nothing of them.
_STANDALONE_MODULES = ('xlearner_mm.doctor',)
_STANDALONE_TOOLS = ('make_mini.py', 'make_photos.py', 'download_data.py')


def _imported_by_standalone() -> bool:
    """Return whether this process runs a program that needs nothing registered."""
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
    if name not in _LAZY:
        raise AttributeError(f"module 'xlearner_mm' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
