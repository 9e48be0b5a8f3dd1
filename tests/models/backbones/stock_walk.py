"""All stock configs of mmdet, mmseg and mmpretrain with a plain ResNet, and its comparison with ours."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from xlearner_mm.registry import MODELS

PLAIN = ('ResNet', 'ResNetV1c', 'ResNetV1d')
# A deformable conv needs a last level of at least its own size.
SIZE = 96


class Found(NamedTuple):
    """A plain ResNet in a config file."""

    place: str
    scope: str
    cfg: dict[str, Any]

    @property
    def identity(self) -> str:
        """Equal for backbones that are built alike."""
        return json.dumps([self.scope, self.cfg], sort_keys=True)


def folder_of(library: str) -> Path:
    """The stock configs that the installed package carries."""
    return Path(importlib.util.find_spec(library).origin).parent / '.mim' / 'configs'


def files_of(library: str) -> list[Path]:
    """All configs that are run, not only inherited from."""
    root = folder_of(library)
    return [path for path in sorted(root.rglob('*.py')) if '_base_' not in path.relative_to(root).parts]


def resnets_in(path: Path) -> list[Found]:
    """All plain ResNets of a config's model, at whatever depth, without the weights they start from."""
    cfg = Config.fromfile(path)
    return list(_search(cfg.get('model', {}), cfg.get('default_scope') or 'mmengine', 'model'))


def _search(node: Any, scope: str, place: str) -> Iterator[Found]:
    if isinstance(node, dict):
        scope = node.get('_scope_', scope)
        if is_plain(node):
            settings = {key: value for key, value in node.items() if key not in ('init_cfg', 'pretrained', '_scope_')}
            yield Found(place, scope, json.loads(json.dumps(settings)))
        for key, value in node.items():
            yield from _search(value, scope, f'{place}.{key}')
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _search(value, scope, f'{place}.{i}')


def is_plain(node: dict[str, Any]) -> bool:
    """Whether a config is of a plain ResNet, of whichever library."""
    return isinstance(node.get('type'), str) and node['type'].split('.')[-1] in PLAIN


def as_ours(cfg: dict[str, Any]) -> dict[str, Any]:
    """The same backbone with `XLearner` before the type, behind a library's prefix."""
    library, dot, stock = cfg['type'].rpartition('.')
    return {**cfg, 'type': f'{library}{dot}XLearner{stock}'}


@torch.no_grad()
def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Leave nothing at zero or one: an offset conv, an attention or a norm would do nothing in the comparison."""
    torch.manual_seed(0)
    for value in module.parameters():
        value.add_(torch.randn_like(value) * 0.02)
    for name, value in module.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            value.add_(torch.rand_like(value) * 0.5)
    return module


def built(cfg: dict[str, Any], scope: str) -> torch.nn.Module:
    """Build from a copy: blocks with DCN take settings out of theirs."""
    return MODELS.build({**copy.deepcopy(cfg), '_scope_': scope})


@torch.no_grad()
def assert_ours_is_stock(found: Found, also_training: bool = False) -> None:
    """Same keys, same weights, same outputs; the same parts frozen and in evaluation mode when training."""
    stock, ours = shaken(built(found.cfg, found.scope)), built(as_ours(found.cfg), found.scope)
    ours.load_state_dict(stock.state_dict(), strict=True)
    stock.train()
    assert ours.train() is ours
    assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in stock.parameters()]
    assert [m.training for m in ours.modules()] == [m.training for m in stock.modules()]
    image = torch.randn(2, found.cfg.get('in_channels', 3), SIZE, SIZE)
    for mode in (True, False) if also_training else (False,):
        stock.train(mode), ours.train(mode)
        outputs = []
        for net in (stock, ours):
            torch.manual_seed(1)
            outputs.append(net(image))
        assert len(outputs[0]) == len(outputs[1])
        for theirs, mine in zip(*outputs, strict=True):
            assert theirs.isfinite().all()
            assert torch.equal(theirs, mine)
