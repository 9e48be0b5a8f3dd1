"""Where in a checkpoint the weights of a backbone are, or an error that says why they are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from xlearner_mm.transfer.checkpoint.error import CheckpointError
from xlearner_mm.transfer.checkpoint.recorded import recorded_widths
from xlearner_mm.transfer.checkpoint.weights import State, backbone_state, state_dict_of

# Those of an expansion checkpoint, and of an export of all of them.
_HOLDERS = ('backbone.branches.', 'branches.')


def find_backbone_state(
    checkpoint: Mapping[str, Any], module: nn.Module, path: str, prefix: str | None = None
) -> dict[str, Tensor]:
    """Return a backbone's own weights out of a checkpoint.

    Args:
        checkpoint: what was read.
        module: the backbone they are for.
        path: the file's name, for messages.
        prefix: where the backbone is in it. Defaults to None: found by itself, also as the only branch of an expansion
            stage.

    Raises:
        CheckpointError: there are none: of another architecture, several branches, or nothing where ``prefix`` says.
    """
    content = state_dict_of(checkpoint)
    state = backbone_state(content, module, prefix)
    branches = {} if hasattr(module, 'branches') else _branches_in(content)
    if branches:
        _check_not_pruned(checkpoint, path)
    if state:
        return state
    if prefix is None and len(branches) == 1:
        prefix = next(iter(branches.values()))
        state = backbone_state(content, module, prefix)
    return state or _none_found(content, module, path, prefix, branches)


def _branches_in(content: State) -> dict[str, str]:
    """Return the prefixes of the backbones of an expansion stage's branches, by the branches' names."""
    for holder in _HOLDERS:
        names = sorted({key.removeprefix(holder).split('.')[0] for key in content if key.startswith(holder)})
        if names:
            return {name: f'{holder}{name}.backbone' for name in names}
    return {}


def _check_not_pruned(checkpoint: Mapping[str, Any], path: str) -> None:
    widths = recorded_widths(checkpoint)
    if widths:
        raise CheckpointError(
            f'checkpoint {path} was pruned, {len(widths)} of its inner widths are narrower: its branches are no '
            f"backbones of their own any more. Give the backbone type='XLearnerExpandedBackbone' with the branches, "
            f"links and widths={widths} of its metadata: xlearner_mm.get_backbone('{path}').meta['backbone']"
        )


def _none_found(
    content: State, module: nn.Module, path: str, prefix: str | None, branches: Mapping[str, str]
) -> dict[str, Tensor]:
    kind = type(module).__name__
    if prefix is None and branches:
        name, where = next(iter(branches.items()))
        raise CheckpointError(
            f'checkpoint {path} holds the branches {list(branches)} of an expansion stage: export one '
            f"(tools/export_backbone.py --branch {name}), or, in an init_cfg, name it by prefix='{where}'"
        )
    if prefix is None:
        raise CheckpointError(f'checkpoint {path} holds nothing of a {kind}: {_such_as(content)}')
    below = {key for key in content if key.startswith(prefix.rstrip('.') + '.')}
    if below:
        raise CheckpointError(
            f"checkpoint {path} holds below prefix '{prefix}' a backbone of another architecture than {kind}: "
            f'{_such_as(below)}'
        )
    places = f'its branches are at {list(branches.values())}' if branches else _such_as(content)
    raise CheckpointError(f"checkpoint {path} holds nothing below prefix '{prefix}': {places}")


def _such_as(keys: Any) -> str:
    first = next(iter(sorted(keys)), None)
    return 'it holds no tensors' if first is None else f'its keys are such as {first}'
