"""The expanded backbone: all branches with their reconciliation links."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModule, ModuleDict
from torch import Tensor, nn

from xlearner_mm.checkpoint import load_backbone, read_checkpoint, recorded_widths
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.expansion.branch import Branch, freeze, frozen_modules, pretrained_of
from xlearner_mm.models.expansion.links import Link, inner_widths, narrow_to, resize_to
from xlearner_mm.models.expansion.reconciliation import DepthPlan, LinkKey, Reconciliation
from xlearner_mm.models.norms import Batch, ModuleState, any_batch_statistics, apply_norm_eval, ragged_forwards
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import MODELS

Levels = tuple[Tensor, ...]


@MODELS.register_module()
class XLearnerExpandedBackbone(BaseModule):
    r"""Sub-backbones linked by reconciliation layers.

    For level i and branch t, with sg the stop-gradient (off with ``detach=False``):

        E_i^t = stage_i^t(F_{i-1}^t)                                     F_{-1} = stem
        F_i^t = E_i^t + sum over senders k, levels j of gamma_{j->i}^{k->t}( sg(E_j^k) )

    The images of a task need gradients through its branch only. The other branches run without gradients, with
    norms in eval mode (their statistics come from their own sources), and only as deep as some link reads; with
    ``detach=True`` that is exact.

    Args:
        branches: branch name -> config of a registered backbone, see
            :class:`~xlearner_mm.models.expansion.branch.Branch`; branches may be unlike each other.
        tasks: task -> branch. Defaults to None: each branch serves the task of its own name. Several tasks on one
            branch: ``dict(cls='shared', det='shared')`` (hard-sharing). Several branches for one kind of task, say
            one per source: name them (``branches=dict(cls_birds=..., cls_cars=...)``) and let a source's ``task``
            be the name of its branch.
        reconciliation: settings of the links, see
            :class:`~xlearner_mm.models.expansion.reconciliation.Reconciliation`. Defaults to None: the paper's.
        widths: inner widths after pruning, by name, as a pruned checkpoint records them (X-Learner_p); others are
            full. Defaults to None: all are.
        out_indices: levels that :meth:`forward` returns, as a downstream backbone. Defaults to (0, 1, 2, 3).
        merge: what :meth:`forward` returns: ``'concat'``, the features of all branches side by side, or the name of a
            task or branch: F of that one; the others then run only as deep as links read, and take no gradients.
            Defaults to ``'concat'``.
        frozen_stages: as of a ResNet: -1 none, 0 the stems, k also the first k levels with the links into them; the
            number of levels, or more, freezes everything. Defaults to -1.
        norm_eval: whether BN is in eval mode in training too. Defaults to False: as the branches' own settings say.
        init_cfg: mmengine's weight initialization. ``dict(type='Pretrained', checkpoint=...)`` loads an export, or a
            checkpoint of the expansion stage or of pruning as it is, and must fill everything. Defaults to None.

    Raises:
        ConfigError: a branch name that is no identifier, a task of an unknown branch, settings of links that the
            branches cannot have, or ``widths`` or ``merge`` that are not of these branches.
        CheckpointError: when weights are initialized from a checkpoint that leaves anything at its random start.
    """

    def __init__(
        self,
        branches: Mapping[str, Mapping[str, Any]],
        tasks: Mapping[str, str] | None = None,
        reconciliation: Mapping[str, Any] | Reconciliation | None = None,
        widths: Mapping[str, int] | None = None,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        merge: str = 'concat',
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        for name in branches:
            if not name.isidentifier() or '__' in name:
                raise ConfigError(f"branch name '{name}' must be an identifier without '__'")
        self.tasks = _check_tasks(tasks, list(branches))
        self.out_indices = tuple(out_indices)
        self.reconciliation = Reconciliation.parse(reconciliation)
        self.branches = ModuleDict({name: Branch(name, cfg) for name, cfg in branches.items()})
        levels = {name: len(branch.channels) for name, branch in self.branches.items()}
        self.link_keys = self.reconciliation.link_keys(levels)
        self.links = ModuleDict({key.module_name: self._build_link(key) for key in self.link_keys})
        self._plans: dict[tuple[frozenset[str], int], DepthPlan] = {}
        self._full_widths = {name: width.channels for name, width in inner_widths(self).items()}
        narrow_to(self, widths or {})
        self.merged = self._branches_of(merge)
        self.norm_eval = norm_eval
        self._frozen_stages = frozen_stages
        freeze(self._frozen())

    def _frozen(self) -> list[nn.Module]:
        """Modules that do not train; found anew each time, because a conversion to SyncBN replaces norms."""
        frozen = frozen_modules(self.branches, self.links, self.link_keys, self._frozen_stages)
        if len(self.merged) < len(self.branches) and self.reconciliation.detach:
            # They get no gradient, which DDP refuses of what can train.
            frozen += self._parts_of_others(self.merged[0])
        return frozen

    def _branches_of(self, merge: str) -> list[str]:
        if merge == 'concat':
            return list(self.branches)
        if merge not in self.tasks and merge not in self.branches:
            raise ConfigError(
                f"merge='{merge}' is neither 'concat' nor a task or branch; tasks are {list(self.tasks)}, branches "
                f'{list(self.branches)}'
            )
        return [self.tasks.get(merge, merge)]

    @property
    def widths(self) -> dict[str, int]:
        """Inner widths that pruning narrowed, by name; ``widths`` of a backbone to be built alike."""
        own = {name: width.channels for name, width in inner_widths(self).items()}
        return {name: channels for name, channels in own.items() if channels < self._full_widths[name]}

    def init_weights(self) -> None:
        """Initialize at random, or from a checkpoint, strictly.

        Raises:
            CheckpointError: the checkpoint cannot be read, or leaves anything at its random start.
        """
        pretrained = pretrained_of(self)
        if pretrained is None:
            super().init_weights()
        else:
            self._check_widths(pretrained['checkpoint'])
            load_backbone(self, pretrained['checkpoint'], prefix=pretrained.get('prefix'))
            self._is_init = True

    def _check_widths(self, path: str) -> None:
        recorded = recorded_widths(read_checkpoint(path))
        if recorded and recorded != self.widths:
            raise CheckpointError(
                f'checkpoint {path} was pruned: give XLearnerExpandedBackbone its widths={recorded}, or all of its '
                f"settings, xlearner_mm.get_backbone('{path}').meta['backbone']"
            )

    def train(self, mode: bool = True) -> XLearnerExpandedBackbone:
        """Set training mode, frozen parts excepted, and return the module as torch's do."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        if mode:
            apply_norm_eval(self)
        return self

    def _build_link(self, key: LinkKey) -> Link:
        sender, receiver = self.branches[key.sender], self.branches[key.receiver]
        ends = {
            'in_channels': sender.channels[key.sender_level],
            'out_channels': receiver.channels[key.receiver_level],
            'in_stride': sender.strides[key.sender_level],
            'out_stride': receiver.strides[key.receiver_level],
        }
        return MODELS.build({**self.reconciliation.link, **ends})

    def channels_of(self, task: str) -> tuple[int, ...]:
        """Channels of F^t at every level."""
        return self.branches[self.branch_of(task)].channels

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of what :meth:`forward` returns."""
        return tuple(sum(self.branches[name].channels[i] for name in self.merged) for i in self.out_indices)

    def branch_of(self, task: str) -> str:
        """The branch that serves a task.

        Raises:
            ConfigError: no branch serves it.
        """
        if task not in self.tasks:
            raise ConfigError(f"no branch serves task '{task}'; the expanded backbone's tasks are {self.tasks}")
        return self.tasks[task]

    def forward(self, x: Tensor) -> Levels:
        """Return features as a downstream backbone: of all branches side by side, or as ``merge`` says.

        Args:
            x: images ``(B, 3, H, W)``.

        Returns:
            One ``(B, C, H_i, W_i)`` for every level of ``out_indices``, C as in ``out_channels``, of the first branch's
            size: of images that are no multiple of the stride, some backbones round down and others up.

        Raises:
            ConfigError: a branch does not return one of these levels.
        """
        for name in self.merged:
            branch = self.branches[name]
            if not set(self.out_indices) <= set(branch.output_levels):
                raise ConfigError(
                    f"out_indices {self.out_indices} need output norms that branch '{name}' does not have: it gives "
                    f'out {branch.output_levels}; set out_indices of the branch, or of the expanded backbone'
                )
        if len(self.merged) == len(self.branches):
            features = self._run(x, set(self.branches))
        else:
            features = {self.merged[0]: self._run_for(x, self.merged[0])}
        return tuple(_side_by_side([levels[i] for levels in features.values()]) for i in self.out_indices)

    def forward_task(self, x: Batch, task: str) -> Levels:
        """Return F^t of one task, all levels, with gradients through its branch and the links into it.

        Args:
            x: images of a source of that task, ``(B, 3, H, W)``; or of several sources, of sizes of their own, as one
                :class:`~xlearner_mm.models.norms.Ragged` batch.
            task: the task t.

        Returns:
            One ``(B, C_i, H_i, W_i)`` for every level, ragged for a ragged batch.

        Raises:
            ConfigError: a ragged batch, and a branch whose code wants images of one size.
        """
        return self._run_for(x, self.branch_of(task))

    def whole_modules(self) -> list[nn.Module]:
        """Return the modules of branches and links that are called whole, which can be compiled."""
        stages = [module for branch in self.branches.values() for module in branch.whole_modules()]
        return [*stages, *(link.gamma for link in self.links.values())]

    def takes_batch_statistics(self, task: str) -> bool:
        """Return whether a norm that trains on a task's images uses batch statistics: its sources then run as one."""
        receiver = self.branch_of(task)
        links = [self.links[key.module_name] for key in self.link_keys if key.receiver == receiver]
        return any_batch_statistics(self.branches[receiver], *links)

    def forward_branches(
        self, x: Tensor, branches: Collection[str] | None = None, depth: int | None = None
    ) -> dict[str, Levels]:
        """Return F of several branches, by branch, in one pass.

        Args:
            x: images ``(B, 3, H, W)``.
            branches: the branches wanted. Defaults to None: all.
            depth: levels wanted, from the first. Defaults to None: all. Others, and branches and stages that
                nothing wanted reads, are not run.
        """
        receivers = set(self.branches if branches is None else branches)
        return self._run(x, receivers, depth)

    def _plan(self, receivers: set[str], depth: int | None) -> DepthPlan:
        levels = {name: len(branch.channels) for name, branch in self.branches.items()}
        depth = max(levels.values()) if depth is None else depth
        key = (frozenset(receivers), depth)
        if key not in self._plans:
            wanted = {name: min(depth, own) for name, own in levels.items()}
            self._plans[key] = DepthPlan.make(receivers, wanted, self.link_keys, self.reconciliation.fuse)
        return self._plans[key]

    def _run_for(self, x: Batch, receiver: str) -> Levels:
        with self._others_in_inference_mode(receiver), ragged_forwards(self, x, f"branch '{receiver}'"):
            return self._run(x, {receiver})[receiver]

    def _run(self, x: Batch, receivers: set[str], depth: int | None = None) -> dict[str, Levels]:
        plan = self._plan(receivers, depth)
        stream: dict[str, Any] = {}
        sent: dict[str, list[Any]] = {name: [] for name in plan.stages}
        fused: dict[str, list[Any]] = {name: [] for name in plan.stages}
        for name in plan.stages:
            branch = self.branches[name]
            with self._gradients_for(name, receivers):
                stream[name] = branch.run(branch.stem, x)
        for level in range(max(plan.stages.values())):
            running = [name for name, depth in plan.stages.items() if level < depth]
            for name in running:
                branch = self.branches[name]
                with self._gradients_for(name, receivers):
                    stream[name] = branch.run(branch.stage(level), stream[name])
                sent[name].append(stream[name])
            if self.reconciliation.fuse == 'stream':
                for name in running:
                    if level < plan.fusions[name]:
                        with self._gradients_for(name, receivers):
                            stream[name] = self._fuse(name, level, sent)
                        fused[name].append(stream[name])
        if self.reconciliation.fuse == 'output':
            # In the same order in all processes: a link may have a SyncBN.
            for name in filter(receivers.__contains__, plan.stages):
                fused[name] = [self._fuse(name, i, sent) for i in range(plan.fusions[name])]
        return {
            # as a sender to others, a branch may have run deeper than wanted
            name: tuple(branch.run(partial(branch.output, i), f) for i, f in enumerate(fused[name][:depth]))
            for name, branch in self.branches.items()
            if name in receivers
        }

    def _fuse(self, receiver: str, level: int, sent: Mapping[str, list[Any]]) -> Any:
        """F_i^t from E_i^t and what the links into it bring."""
        out = sent[receiver][level]
        size = (out.shape[-2], out.shape[-1])
        for key in self.link_keys:
            if key.receiver == receiver and key.receiver_level == level:
                feature = sent[key.sender][key.sender_level]
                if self.reconciliation.detach:
                    feature = feature.detach()
                out = out + self.links[key.module_name](feature, size)
        return out

    @contextmanager
    def _gradients_for(self, branch: str, receivers: Iterable[str]) -> Iterator[None]:
        wanted = branch in receivers or not self.reconciliation.detach
        if wanted:
            yield
            return
        # autocast caches casts of weights. Older torch reuses those made without gradients in the branch's own pass,
        # whose weights then get no gradient (pytorch#112583, #158232).
        caches = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            with torch.no_grad():
                yield
        finally:
            torch.set_autocast_cache_enabled(caches)

    @contextmanager
    def _others_in_inference_mode(self, receiver: str) -> Iterator[None]:
        """Keep norms of other branches in eval mode: their statistics are not of this task's images."""
        others = list(self._modules_of_others(receiver))
        # Gradients through them need these statistics, which their own sources update before the backward pass.
        saved = ModuleState(others) if torch.is_grad_enabled() and not self.reconciliation.detach else None
        switched = [module for module in others if module.training]
        with nullcontext() if saved is None else saved.installed():
            for module in switched:
                module.training = False
            try:
                yield
            finally:
                for module in switched:
                    module.training = True

    def _modules_of_others(self, receiver: str) -> Iterator[nn.Module]:
        for part in self._parts_of_others(receiver):
            yield from part.modules()

    def _parts_of_others(self, receiver: str) -> Iterator[nn.Module]:
        yield from (branch for name, branch in self.branches.items() if name != receiver)
        yield from (self.links[key.module_name] for key in self.link_keys if key.receiver != receiver)


def _side_by_side(maps: Sequence[Tensor]) -> Tensor:
    height, width = maps[0].shape[-2:]
    return torch.cat([resize_to(x, (height, width)) for x in maps], dim=1)


def _check_tasks(tasks: Mapping[str, str] | None, branches: Sequence[str]) -> dict[str, str]:
    if not branches:
        raise ConfigError('an expanded backbone needs at least one branch')
    tasks = dict(tasks) if tasks is not None else {name: name for name in branches}
    for task, branch in tasks.items():
        if branch not in branches:
            raise ConfigError(f"task '{task}' is served by unknown branch '{branch}'; branches are {list(branches)}")
    return tasks


def expanded_backbone_of(model: nn.Module) -> XLearnerExpandedBackbone | None:
    """Return the branches and links that a model trains, or None in the squeeze stage, which trains none.

    Args:
        model: the training's model, in DDP or not.
    """
    backbone = getattr(unwrapped(model), 'backbone', None)
    return backbone if isinstance(backbone, XLearnerExpandedBackbone) else None
