"""Setting names of classes and functions, and suggestions for misspelled ones."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection
from typing import Any, get_type_hints


def nearest(name: object, known: Collection[Any], what: str = 'known settings') -> str:
    """Return the end of a message about an unknown name: the nearest known one, or all of them.

    Args:
        name: the unknown name.
        known: the known names.
        what: noun for the known names. Defaults to ``'known settings'``.
    """
    if not known:
        return '; it has none'
    near = difflib.get_close_matches(str(name), [str(each) for each in known], n=1)
    return f"; did you mean '{near[0]}'?" if near else f'; {what}: {sorted(map(str, known))}'


def settings_of(taker: Callable[..., Any]) -> list[str]:
    """Return the names of all settings that a class or function takes.

    ``**kwargs`` are followed to the base classes of a class, and to the annotated return type of a function.
    """
    if not inspect.isclass(taker):
        named, hands_on = _named(inspect.signature(taker))
        made = get_type_hints(taker).get('return') if hands_on else None
        return list(dict.fromkeys([*named, *(settings_of(made) if inspect.isclass(made) else [])]))
    names: dict[str, None] = {}
    for owner in taker.__mro__[:-1]:
        if '__init__' not in vars(owner):
            continue
        own, hands_on = _named(inspect.signature(vars(owner)['__init__']))
        names |= dict.fromkeys(own[1:])
        if not hands_on:
            break
    return list(names)


def _named(signature: inspect.Signature) -> tuple[list[str], bool]:
    """Return the names in a signature, and whether it has ``**kwargs``."""
    kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [name for name, kind in kinds.items() if kind not in variadic], variadic[0] in kinds.values()


def misspelled(name: str, known: Collection[str]) -> str | None:
    """Return the known name of which ``name`` is a typo, or None.

    A typo swaps two letters, drops one, or changes a letter or two of a long name: ``models`` and ``text_cfg`` are no
    typos of ``model`` and ``test_cfg``.
    """
    if name in known:
        return None
    slipped = [each for each in known if _swapped(name, each) or _left_out(name, each)]
    near = slipped or difflib.get_close_matches(name, known, n=1, cutoff=0.92)
    return near[0] if near else None


def _swapped(name: str, known: str) -> bool:
    at = [i for i, pair in enumerate(zip(name, known, strict=False)) if pair[0] != pair[1]]
    return len(name) == len(known) and len(at) == 2 and name[at[0] : at[1] + 1] == known[at[0] : at[1] + 1][::-1]


def _left_out(name: str, known: str) -> bool:
    # Short words are often prefixes of others: mode, model.
    return len(known) > 5 and any(name == known[:i] + known[i + 1 :] for i in range(len(known)))
