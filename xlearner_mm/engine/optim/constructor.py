"""Constructor of optimizers per branch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import Tensor, nn

from xlearner_mm.engine.optim.wrapper import BranchClipping, PerBranchOptimWrapper
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.expansion import ExpansionLearner
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.nearest_name import nearest, settings_of

_OWN = ('optimizer', 'clip_grad', 'paramwise_cfg', 'constructor')
"""Settings that a branch can have of its own; the others are of the shared backward pass."""

_NAMES = ('params', 'param_names', 'param_name')
"""Entries of a parameter group that are no settings."""


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PerBranchOptimWrapperConstructor:
    """Optimize every branch of an expansion as if it were trained alone.

    A branch consists of its sub-backbone, the links into it, and the networks and hints of its sources. By default one
    optimizer trains all branches, and ``clip_grad`` clips each separately. If any branch has settings of its own, every
    branch has its own optimizer:

        optim_wrapper = dict(
            constructor='PerBranchOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4),
            clip_grad=dict(max_norm=35),
            det=dict(optimizer=dict(lr=0.02)),
            seg=dict(optimizer=dict(type='AdamW', lr=6e-5, weight_decay=0.01), clip_grad=None))

    Branches inherit the common settings; an ``optimizer`` without ``type`` changes single ones. ``param_scheduler`` is
    a list for all or a dict of lists by branch. ``paramwise_cfg`` matches names in the learner
    (``backbone.branches.det.backbone.layer1...``). A branch's own stock ``constructor``, as for layer-wise decay, sees
    it as a stock network with its sub-backbone as ``backbone``.

    A branch that serves several tasks (hard-sharing) has one gradient and is clipped as one. A model without branches
    (a squeeze's) gets the stock constructor.

    Parameter groups of equal settings, which ``paramwise_cfg`` makes of every tensor, are merged: optimizers and
    schedules take time by the group, and ``foreach=True`` or ``fused=True`` of an optimizer's settings only work within
    one. The updates are the same, bit for bit. ``param_names`` of a group are the names in the model, by which a
    resumed training finds the state of its parameters.

    Args:
        optim_wrapper_cfg: settings of the wrapper as for the stock constructor, and those of branches by name.
        paramwise_cfg: as for the stock constructor. Defaults to None.

    Raises:
        ConfigError: when called: an unknown setting or branch, a branch without optimizer, a setting that branches
            cannot have of their own, or parameters that are not of exactly one branch.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        settings = dict(optim_wrapper_cfg)
        settings.setdefault('type', 'OptimWrapper')
        if paramwise_cfg is not None:
            settings['paramwise_cfg'] = paramwise_cfg
        self._known = ['type', 'optimizer', 'paramwise_cfg', *settings_of(_class_of(settings['type']))]
        self._of_all = {key: value for key, value in settings.items() if key in self._known}
        self._of_branches = {key: value for key, value in settings.items() if key not in self._known}

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Return a stock wrapper, or a :class:`PerBranchOptimWrapper` if a branch has settings of its own."""
        learner: Any = unwrapped(model)
        branches = list(learner.backbone.branches) if isinstance(learner, ExpansionLearner) else []
        self._check_names(branches, type(learner).__name__)
        if not branches:
            return _merged(build_optim_wrapper(learner, self._of_all), learner)
        parameters = _parameters_of(learner)
        if self._of_branches:
            return PerBranchOptimWrapper(**{name: self._build(learner, name) for name in branches})
        self._check_optimizer('', self._of_all)
        wrapper = build_optim_wrapper(learner, self._of_all)
        if wrapper.clip_grad_kwargs:
            wrapper.clip_func = BranchClipping(parameters, wrapper.clip_func)
        return _merged(wrapper, learner)

    def _check_names(self, branches: list[str], model: str) -> None:
        for name, own in self._of_branches.items():
            if name not in branches:
                there = f'the branches are {branches}' if branches else f'{model} has no branches'
                raise ConfigError(
                    f"optim_wrapper: '{name}' is neither a setting of {_class_of(self._of_all['type']).__name__} nor a "
                    f'branch; {there}{nearest(name, [*branches, *self._known])}'
                )
            if not isinstance(own, Mapping):
                raise ConfigError(
                    f'optim_wrapper.{name}: expected a dict of the settings of branch {name}, got {own!r}'
                )

    def _build(self, learner: ExpansionLearner, branch: str) -> OptimWrapper:
        own = dict(self._of_branches.get(branch, {}))
        # Stock recipes name it.
        if 'type' in own and _class_of(own['type']) in (OptimWrapper, _class_of(self._of_all['type'])):
            del own['type']
        for key in own:
            if key in self._known and key not in _OWN:
                raise ConfigError(
                    f"optim_wrapper.{branch}: '{key}' cannot be set for a branch alone, since all branches share one "
                    f'backward pass: set optim_wrapper.{key} for all'
                )
            if key not in _OWN:
                raise ConfigError(f"optim_wrapper.{branch}: unknown setting '{key}'{nearest(key, _OWN)}")
        settings = {**self._of_all, **own}
        if 'type' not in own.get('optimizer', {}):
            settings['optimizer'] = {**self._of_all.get('optimizer', {}), **own.get('optimizer', {})}
        self._check_optimizer(branch, settings)
        view = _as_stock(learner, branch) if 'constructor' in own else _view(learner.parts_of(branch))
        wrapper = build_optim_wrapper(view, deepcopy(settings))
        if wrapper.clip_grad_kwargs:
            wrapper.grad_name = f'{wrapper.grad_name}/{branch}'
        return _merged(wrapper, learner)

    @staticmethod
    def _check_optimizer(branch: str, settings: Mapping[str, Any]) -> None:
        if 'type' not in settings.get('optimizer', {}):
            whose = f"branch '{branch}' has" if branch else 'the branches have'
            own = f'optim_wrapper.{branch}.optimizer, or ' if branch else ''
            raise ConfigError(f'optim_wrapper: {whose} no optimizer: set {own}optim_wrapper.optimizer for all')


def _merged(wrapper: OptimWrapper, model: nn.Module) -> OptimWrapper:
    """Merge the parameter groups of equal settings, and name their parameters as the model does."""
    groups = wrapper.optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    order = {id(parameter): number for number, parameter in enumerate(p for group in groups for p in group['params'])}
    merged: list[dict[str, Any]] = []
    for group in groups:
        same = next((other for other in merged if _settings(other) == _settings(group)), None)
        if same is None:
            merged.append(same := {**_settings(group), 'params': [], 'param_names': []})
        same['params'] += group['params']
        same['param_names'] += [names[id(parameter)] for parameter in group['params']]
    groups[:] = merged
    if wrapper.clip_grad_kwargs and len(merged) > 1 and not isinstance(wrapper.clip_func, BranchClipping):
        wrapper.clip_func = _in_order(wrapper.clip_func, order)
    return wrapper


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in _NAMES}


def _in_order(clip: Callable[..., Tensor | None], order: Mapping[int, int]) -> Callable[..., Tensor | None]:
    """Return ``clip`` of parameters in one order, however they are grouped: a sum depends on it in its last bits."""

    def clipped(parameters: Sequence[nn.Parameter], **settings: Any) -> Tensor | None:
        return clip(sorted(parameters, key=lambda parameter: order[id(parameter)]), **settings)

    return clipped


def _class_of(kind: str | type) -> type[OptimWrapper]:
    found = OPTIM_WRAPPERS.get(kind) if isinstance(kind, str) else kind
    if found is None:
        known = list(OPTIM_WRAPPERS.module_dict)
        raise ConfigError(f"optim_wrapper.type: no optimizer wrapper is called '{kind}'{nearest(kind, known)}")
    return found


def _parameters_of(learner: ExpansionLearner) -> dict[str, list[nn.Parameter]]:
    """Return the parameters of every branch; each parameter must be of exactly one."""
    found = {name: list(_view(learner.parts_of(name)).parameters()) for name in learner.backbone.branches}
    owners: dict[int, list[str]] = {}
    for branch, parameters in found.items():
        for parameter in parameters:
            owners.setdefault(id(parameter), []).append(branch)
    for name, parameter in learner.named_parameters():
        of = owners.get(id(parameter), [])
        if len(of) != 1:
            raise ConfigError(
                f'optim_wrapper: parameter {name} is of '
                + (f'several branches, {of}' if of else 'no branch')
                + ', which cannot be optimized branch by branch: leave constructor out'
            )
    return found


def _view(parts: Mapping[str, nn.Module]) -> nn.Module:
    """Return a module of some parts of another one, under their names there."""
    root = nn.Module()
    for path, part in parts.items():
        *outer, last = path.split('.')
        parent = root
        for name in outer:
            if name not in parent._modules:
                parent.add_module(name, nn.Module())
            parent = parent.get_submodule(name)
        parent.add_module(last, part)
    return root


class _StockNetwork(nn.Module):
    """A branch in the form that the libraries' constructors expect."""

    backbone: Any

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Return the layer of a parameter and the number of layers, as mmpretrain's classifiers do."""
        return self.backbone.get_layer_depth(param_name, 'backbone.')


def _as_stock(learner: ExpansionLearner, branch: str) -> nn.Module:
    network, prefix = _StockNetwork(), f'backbone.branches.{branch}'
    parts = learner.parts_of(branch)
    branch_module: Any = parts.pop(prefix)
    network.add_module('backbone', branch_module.backbone)
    rest = _view({path.removeprefix('backbone.'): part for path, part in parts.items()})
    for name, part in rest.named_children():
        network.add_module(name, part)
    return network
