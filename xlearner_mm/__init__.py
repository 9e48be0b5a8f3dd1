"""X-Learner for the OpenMMLab ecosystem.

``custom_imports = dict(imports=['xlearner_mm'])`` in a config registers everything of ours in MMEngine's root
registries.
"""

import sys

from xlearner_mm.version import __version__

__all__ = ['__version__']

# What must answer where the stack is broken, missing, or merely slow to import.
_STANDALONE = ('xlearner_mm.doctor', 'xlearner_mm.mini')


def _imported_by_standalone() -> bool:
    """Whether ``python -m`` runs a module that needs nothing registered."""
    return sys.argv[:1] == ['-m'] and any(arg.startswith(_STANDALONE) for arg in getattr(sys, 'orig_argv', []))


if not _imported_by_standalone():
    from mmengine.config.utils import MODULE2PACKAGE

    from xlearner_mm import datasets, engine, evaluation, models, transfer  # noqa: F401

    # `_base_ = 'xlearner_mm::...'` and 'mmseg::...' are looked up in this table, which lacks both.
    MODULE2PACKAGE.update(xlearner_mm='xlearner_mm', mmseg='mmseg')
