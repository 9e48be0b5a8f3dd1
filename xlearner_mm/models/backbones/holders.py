"""Which network a backbone is part of: a module of torch's does not know its parent."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary, ref

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

_HOLDERS: WeakKeyDictionary[nn.Module, ref[nn.Module]] = WeakKeyDictionary()
# Modules that hold a remembered one: theirs are remembered too.
_HOLDING: WeakKeyDictionary[nn.Module, None] = WeakKeyDictionary()


def remember_holders_of(kind: type[nn.Module]) -> None:
    """Remember, from now on, the modules that hold a module of that kind.

    A backbone is built by its network and put into it; all that torch tells of this is its registration hook, which is
    of the whole process. It only looks.
    """

    def remember(holder: nn.Module, name: str, module: nn.Module | None) -> None:
        if isinstance(module, kind) or (module is not None and module in _HOLDING):
            _HOLDERS[module] = ref(holder)
            _HOLDING[holder] = None

    register_module_module_registration_hook(remember)


def holders_of(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules around a module, from the inside out, as far as they were remembered."""
    known = _HOLDERS.get(module)
    while known is not None and (holder := known()) is not None:
        yield holder
        known = _HOLDERS.get(holder)


def preprocessors_around(module: nn.Module) -> list[nn.Module]:
    """Return the data preprocessors of the innermost network around a module that normalises its images.

    Those of a multi-branch or multi-source preprocessor are listed one by one. Empty where no network is known, or
    where none normalises in its preprocessor (then a pipeline does).
    """
    for holder in holders_of(module):
        outer = getattr(holder, 'data_preprocessor', None)
        inner = [part for part in outer.modules() if hasattr(part, 'mean')] if isinstance(outer, nn.Module) else []
        if inner:
            return inner
    return []
