"""State of hooks in checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import HOOKS

_STATES = 'hook_states'
_ENDED = 'ended_early'


@dataclass(frozen=True)
class HookState:
    """State that a hook carries from step to step.

    Args:
        attributes: names of its attributes; plain data or tensors, the same on every rank.
        meaning: names of settings that the attributes depend on. Defaults to none.
        after: called with the hook when its attributes are restored. Defaults to None.
    """

    attributes: tuple[str, ...]
    meaning: tuple[str, ...] = ()
    after: Callable[[Any], None] | None = None


def _stop_profiler(hook: Any) -> None:
    """Stop a profiler that has finished: it is started again when the training is resumed."""
    if hook._closed:
        hook.profiler.on_trace_ready = None
        hook.profiler.stop()


STOCK_STATES: dict[str, HookState] = {
    'EarlyStoppingHook': HookState(('wait_count', 'best_score'), ('monitor', 'rule')),
    'ProfilerHook': HookState(('_closed',), after=_stop_profiler),
}
"""Stock hooks that lose state in a resumed training. The others save it themselves, or derive it from the step."""


@HOOKS.register_module()
class HookStateHook(Hook):
    """Save and restore the state of hooks that do not do so themselves, and that a training has ended early.

    A user's hook declares its attributes: ``hook_state = HookState(('count',))``.

    Raises:
        ConfigError: when a checkpoint is saved, the state of a hook is neither plain data nor tensors.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add the states."""
        states = {}
        for name, hook, state in _stateful(runner):
            values = {key: _plain(f'{name}.{key}', getattr(hook, key)) for key in state.attributes}
            states[name] = {'state': values, 'settings': _settings(hook)}
        checkpoint[_STATES] = states
        checkpoint[_ENDED] = bool(getattr(runner.train_loop, 'stop_training', False))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore the states; a training that had ended early stays ended, unless a setting has changed."""
        if not runner._resume:
            return
        saved: dict[str, Any] = checkpoint.get(_STATES, {})
        stateful = {name: (hook, state) for name, hook, state in _stateful(runner)}
        changed = [f'{name} is gone' for name in saved if name not in stateful]
        for name, (hook, state) in stateful.items():
            if name not in saved:
                continue
            before, now = saved[name]['settings'], _settings(hook)
            other = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            changed += [f'{name}.{key} is {now.get(key)!r}, was {before.get(key)!r}' for key in other]
            if not set(other) & set(state.meaning):
                vars(hook).update(saved[name]['state'])
                if state.after is not None:
                    state.after(hook)
        if checkpoint.get(_ENDED) and not changed:
            runner.train_loop.stop_training = True  # type: ignore[attr-defined]
            runner.logger.info('the training to resume had ended early: nothing to do')
        elif checkpoint.get(_ENDED):
            runner.logger.warning(f'the training to resume had ended early; it continues, because {", ".join(changed)}')


def _stateful(runner: Runner) -> Iterator[tuple[str, Hook, HookState]]:
    """Yield the hooks with state; several of one class are numbered."""
    seen: Counter[str] = Counter()
    for hook in runner.hooks:
        name = type(hook).__name__
        known = [STOCK_STATES[cls.__name__] for cls in type(hook).__mro__ if cls.__name__ in STOCK_STATES]
        state = getattr(hook, 'hook_state', known[0] if known else None)
        if state is not None:
            seen[name] += 1
            yield name if seen[name] == 1 else f'{name} {seen[name]}', hook, state


def _settings(hook: Hook) -> dict[str, Any]:
    """Return the numbers, strings and flags that a hook was built with."""
    known = getattr(hook, 'hook_state', None) or HookState(())
    state = {*known.attributes, *(name for stock in STOCK_STATES.values() for name in stock.attributes)}
    return {
        name: value
        for name, value in vars(hook).items()
        if name not in state and not name.startswith('_') and isinstance(value, str | int | float | None)
    }


def _plain(name: str, value: Any) -> Any:
    """Return a state as plain data; scalars of NumPy and torch become Python's."""
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.ndim == 0):
        return value.item()
    if isinstance(value, (str | int | float | None, Tensor)):
        return value
    if isinstance(value, Mapping):
        return {_plain(name, key): _plain(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(name, item) for item in value)
    raise ConfigError(f'{name} is a {type(value).__name__}: the state of a hook must be plain data or tensors')
