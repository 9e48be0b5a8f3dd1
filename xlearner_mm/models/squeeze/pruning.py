"""X-Learner_p: prune the expanded backbone in place of distilling it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from xlearner_mm.errors import ConfigError
from xlearner_mm.flops import flops_by_layer
from xlearner_mm.models.expansion import XLearnerExpandedBackbone
from xlearner_mm.models.expansion.links import InnerWidth, inner_widths
from xlearner_mm.nearest_name import nearest
from xlearner_mm.registry import MODELS

if TYPE_CHECKING:
    from torch_pruning import DependencyGraph, Group

Criterion = Any  # a callable on a group of torch-pruning

CRITERIA = (
    'BNScaleImportance',
    'FPGMImportance',
    'GroupMagnitudeImportance',
    'GroupTaylorImportance',
    'LAMPImportance',
    'RandomImportance',
)
"""torch-pruning's criteria that need weights only, or (``'GroupTaylorImportance'``) the gradients of one step."""
CRITERION = {'type': 'GroupMagnitudeImportance'}


class Pruning:
    """Narrow the inner widths of an expanded backbone in steps of equal size, down to a target.

    All levels keep their channels, so every head keeps reading what it was trained on. In every step the channels of
    all inner widths compete: those with the lowest scores go, as few as bring the step's size.

    Args:
        backbone: as the training builds it, before anything is pruned: sizes are planned from it.
        target_params: parameters of the expanded backbone to reach. Defaults to None.
        target_flops: multiply-adds for one image to reach, in place of parameters. Defaults to None.
        steps: steps to the target. Defaults to 5.
        criterion: importance of channels, see :func:`build_criterion`. Defaults to
            ``dict(type='GroupMagnitudeImportance')``.
        keep: share of each inner width that always stays. Defaults to 0.1.
        input_size: height and width of the image that FLOPs are counted for. Defaults to (224, 224).

    Attributes:
        full: size before pruning.
        floor: size with every inner width at ``keep``.

    Raises:
        ConfigError: what :func:`check_plan` refuses, a target that pruning cannot reach or that is reached already, or
            an unknown criterion.
    """

    def __init__(
        self,
        backbone: XLearnerExpandedBackbone,
        target_params: float | None = None,
        target_flops: float | None = None,
        steps: int = 5,
        criterion: Mapping[str, Any] = CRITERION,
        keep: float = 0.1,
        input_size: tuple[int, int] = (224, 224),
    ) -> None:
        self.measure, self.target = check_plan(target_params, target_flops, steps, keep, input_size)
        self.steps = steps
        self.criterion = build_criterion(criterion)
        self.size = SizeModel(backbone, input_size)
        self._least = {name: max(1, math.ceil(keep * width.channels)) for name, width in inner_widths(backbone).items()}
        self.full, self.floor = self.size(), self.size(self._least)
        self._check_reachable(keep)
        self._plain = {
            f'plain {type(branch.backbone).__name__} as branch {name}': SizeModel(branch.backbone, input_size)()
            for name, branch in backbone.branches.items()
        }

    def _check_reachable(self, keep: float) -> None:
        floor, full = getattr(self.floor, self.measure), getattr(self.full, self.measure)
        if self.target < floor:
            raise ConfigError(
                f'pruning: target_{self.measure}={self.target:.4g} is below what pruning inner widths can reach, '
                f'{floor:.4g} with keep={keep} (levels and links between them keep their channels); raise the target, '
                "lower keep, or use smaller links, reconciliation=dict(link=dict(type='PoolLink'))"
            )
        if self.target >= full:
            raise ConfigError(
                f'pruning: target_{self.measure}={self.target:.4g} is not below the {full:.4g} that the expanded '
                'backbone has before pruning'
            )

    def limit(self, step: int) -> float:
        """Return the size that a step, from 1, may leave."""
        full = getattr(self.full, self.measure)
        return full - (full - self.target) * step / self.steps

    def prune(self, backbone: XLearnerExpandedBackbone, step: int, optimizers: Iterable[Optimizer] = ()) -> Size:
        """Take a step: drop the least important channels of a backbone of the planned shape, in place.

        Args:
            backbone: the one that trains; its gradients are read where the criterion needs them.
            step: from 1 to ``steps``.
            optimizers: keep their state (momentum) for what stays. Defaults to none.

        Returns:
            The size left.
        """
        widths = inner_widths(backbone)
        ranked = self._ranked(backbone, widths, step)
        dropped = ranked[: self._fewest(ranked, widths, self.limit(step))]
        for name, width in widths.items():
            gone = {channel for owner, channel in dropped if owner == name}
            if gone:
                kept = torch.tensor([c for c in range(width.channels) if c not in gone])
                for optimizer in optimizers:
                    _narrow_state(optimizer, width, kept)
                width.keep(kept)
        return self.size({name: width.channels for name, width in widths.items()})

    def sizes(self, backbone: XLearnerExpandedBackbone) -> dict[str, dict[str, int]]:
        """Return ``params`` and ``flops`` before and now, and of each branch's backbone alone and unpruned."""
        now = self.size({name: width.channels for name, width in inner_widths(backbone).items()})
        return {name: asdict(size) for name, size in {'expanded': self.full, 'pruned': now, **self._plain}.items()}

    def _ranked(
        self, backbone: XLearnerExpandedBackbone, widths: Mapping[str, InnerWidth], step: int
    ) -> list[tuple[str, int]]:
        """Return all channels that may go, the least important first."""
        graph, cut = _dependency_graph(backbone), torch_pruning().prune_conv_out_channels
        scored: list[tuple[float, str, int]] = []
        for name, width in widths.items():
            group = graph.get_pruning_group(width.conv, cut, list(range(width.channels)))
            _check_group(name, width, group)
            scores = judge(self.criterion, group, seed=step)
            lowest = torch.argsort(scores, stable=True)[: width.channels - self._least[name]]
            scored += [(float(scores[channel]), name, int(channel)) for channel in lowest]
        return [(name, channel) for _, name, channel in sorted(scored)]

    def _fewest(self, ranked: list[tuple[str, int]], widths: Mapping[str, InnerWidth], limit: float) -> int:
        """Return how many of the ranked channels must go to be within the limit, by bisection."""
        low, high = 0, len(ranked)
        while low < high:
            middle = (low + high) // 2
            gone = Counter(name for name, _ in ranked[:middle])
            size = self.size({name: width.channels - gone[name] for name, width in widths.items()})
            low, high = (low, middle) if getattr(size, self.measure) <= limit else (middle + 1, high)
        return low


def check_plan(
    target_params: float | None,
    target_flops: float | None,
    steps: int,
    keep: float,
    input_size: Sequence[int],
) -> tuple[str, float]:
    """Return what is measured, ``'params'`` or ``'flops'``, and the target; arguments as of :class:`Pruning`.

    Raises:
        ConfigError: not exactly one target, or a setting that is none; names it.
    """
    given = [(name, t) for name, t in (('params', target_params), ('flops', target_flops)) if t is not None]
    if len(given) != 1:
        raise ConfigError('pruning: give either target_params or target_flops')
    measure, target = given[0]
    if not isinstance(target, int | float) or not 0 < target < math.inf:
        raise ConfigError(f'pruning: target_{measure}={target!r} must be a number above 0, as in 23.5e6')
    check_count('steps', steps)
    if not isinstance(keep, int | float) or not 0 <= keep < 1:
        raise ConfigError(f'pruning: keep={keep!r} must be a share from 0 to below 1')
    if not isinstance(input_size, Sequence) or [type(side) for side in input_size] != [int, int] or min(input_size) < 1:
        raise ConfigError(f'pruning: input_size={input_size!r} must be height and width, as in (224, 224)')
    return measure, target


def check_count(name: str, value: int) -> None:
    """Check a setting that counts something.

    Raises:
        ConfigError: it is no whole number, or below 1.
    """
    if type(value) is not int or value < 1:
        raise ConfigError(f'pruning: {name}={value!r} must be a whole number and at least 1')


def _dependency_graph(backbone: XLearnerExpandedBackbone) -> DependencyGraph:
    training = {module: module.training for module in backbone.modules()}
    image = torch.zeros(1, 3, 64, 64, device=next(backbone.parameters()).device)
    try:
        with torch.enable_grad():
            return (
                torch_pruning()
                .DependencyGraph()
                .build_dependency(
                    backbone,
                    image,
                    forward_fn=lambda model, x: model.forward_branches(x),
                    output_transform=lambda out: [level for levels in out.values() for level in levels],
                    verbose=False,
                )
            )
    finally:
        for module, mode in training.items():
            module.training = mode


def _check_group(name: str, width: InnerWidth, group: Group) -> None:
    """The library's view of what depends on a width must be ours, or something would be cut that still is read."""
    coupled = {dep.target.module for dep, _ in group}
    coupled = {module for module in coupled if any(True for _ in module.parameters(recurse=False))}
    if coupled != {width.conv, width.norm, width.consumer}:
        raise ConfigError(f'pruning: {name} is coupled to other layers than the next norm and convolution')


def _narrow_state(optimizer: Optimizer, width: InnerWidth, kept: Tensor) -> None:
    for parameter, dim in width.parameters():
        state = optimizer.state.get(parameter, {})
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[key] = value.index_select(dim, kept.to(value.device))


def torch_pruning() -> ModuleType:
    """Return the library, which an installation that prunes nothing need not have.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import torch_pruning
    except ModuleNotFoundError as error:
        raise ConfigError(f'pruning needs torch-pruning: pip install torch-pruning ({error})') from error
    return torch_pruning


def build_criterion(settings: Mapping[str, Any]) -> Criterion:
    """Build an importance criterion, which maps a group of torch-pruning to one score per channel.

    Args:
        settings: ``dict(type=...)`` of :data:`CRITERIA` or of a class registered in ``MODELS``, which sets
            ``needs_gradients = True`` if it reads gradients; and its arguments.

    Raises:
        ConfigError: an unknown criterion or argument, or torch-pruning is not installed.
    """
    if not isinstance(settings, Mapping) or 'type' not in settings:
        raise ConfigError(f"pruning: criterion must be as dict(type='{CRITERION['type']}'), got {settings!r}")
    arguments = dict(settings)
    kind = arguments.pop('type')
    library = torch_pruning().importance
    if kind in CRITERIA:
        built = getattr(library, kind)
    elif (built := MODELS.get(kind)) is None:
        raise ConfigError(f"pruning: unknown criterion '{kind}'{nearest(kind, CRITERIA, 'criteria')}")
    try:
        criterion = built(**arguments)
    except TypeError as error:
        raise ConfigError(f"pruning: criterion '{kind}': {error}") from error
    criterion.needs_gradients = kind == 'GroupTaylorImportance' or getattr(criterion, 'needs_gradients', False)
    return criterion


def judge(criterion: Criterion, group: Group, seed: int) -> Tensor:
    """Return the scores ``(C,)`` of a group's channels, on the CPU; a run's own random numbers stay untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return criterion(group).detach().cpu()


@dataclass(frozen=True)
class Size:
    """Parameters, and multiply-adds of convolutions and linear layers for one image.

    Args:
        params: number of parameters.
        flops: multiply-adds, what the ecosystem calls FLOPs.
    """

    params: int
    flops: int

    def __str__(self) -> str:
        """In millions."""
        return f'{self.params / 1e6:.3f} M parameters, {self.flops / 1e6:.1f} MFLOPs'


class SizeModel:
    """The sizes that a backbone would have with other inner widths.

    Args:
        backbone: the backbone; only its shapes are kept.
        input_size: height and width of the image that FLOPs are counted for.
    """

    def __init__(self, backbone: nn.Module, input_size: tuple[int, int]) -> None:
        names = {id(parameter): name for name, parameter in backbone.named_parameters()}
        self._shapes = {name: tuple(parameter.shape) for name, parameter in backbone.named_parameters()}
        self._along = {
            name: [(names[id(parameter)], dim) for parameter, dim in width.parameters()]
            for name, width in inner_widths(backbone).items()
        }
        # A layer's FLOPs are its weights, each used once per output position.
        self._positions = {
            name: count // math.prod(self._shapes[f'{name}.weight'])
            for name, count in flops_by_layer(backbone, *input_size).items()
        }

    def __call__(self, widths: Mapping[str, int] | None = None) -> Size:
        """Return the size at these inner widths. Defaults to None: as the backbone was given."""
        shapes = {name: list(shape) for name, shape in self._shapes.items()}
        for name, channels in (widths or {}).items():
            for parameter, dim in self._along[name]:
                shapes[parameter][dim] = channels
        return Size(
            params=sum(math.prod(shape) for shape in shapes.values()),
            flops=sum(math.prod(shapes[f'{layer}.weight']) * count for layer, count in self._positions.items()),
        )


def size_table(sizes: Mapping[str, Mapping[str, int]]) -> str:
    """Return one line per model.

    Args:
        sizes: what it is -> its ``params`` and ``flops`` (multiply-adds for one image).
    """
    width = max(len(name) for name in sizes)
    lines = [f'{"":{width}}  {"parameters":>12}  {"FLOPs":>12}']
    for name, size in sizes.items():
        lines.append(f'{name:{width}}  {size["params"] / 1e6:10.3f} M  {size["flops"] / 1e6:10.1f} M')
    return '\n'.join(lines)
