"""The expansion stage: sources -> ports -> stock networks -> losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from mmengine.model import BaseModel, ModuleDict
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from xlearner_mm.checkpoint import nothing_executed
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.compilation import compile_in_place
from xlearner_mm.models.data_preprocessor import (
    MultiSourceDataPreprocessor,
    common_normalization,
    pass_contiguous_where_misread,
    tell_source_order,
)
from xlearner_mm.models.expansion.expanded_backbone import Levels, XLearnerExpandedBackbone
from xlearner_mm.models.expansion.hints import build_hints
from xlearner_mm.models.expansion.stock_network import build_stock_network, losses_of, port_of
from xlearner_mm.models.norms import apply_norm_eval, joint_groups, parts_of, ragged
from xlearner_mm.registry import MODELS, plain
from xlearner_mm.sources import parse_sources

if TYPE_CHECKING:
    from xlearner_mm.models.expansion.data_parallel import BranchDataParallel

BACKWARDS = ('branch', 'joint')


@MODELS.register_module()
class ExpansionLearner(BaseModel):
    """Train linked sub-backbones on many sources that each carry one task's labels.

    Every source has its own stock network (of mmdet, mmseg or mmpretrain) whose backbone is the port of the source's
    task. A training step runs all of them.

        {source: images} -> port F^t -> stock network.loss() -> {<source>.<loss>: ...}

    Args:
        backbone: config of an :class:`XLearnerExpandedBackbone`.
        sources: source name -> settings, see :class:`~xlearner_mm.sources.Source`. ``XLearnerRunner.from_cfg`` passes
            those at the top level of a config. Required.
        joint_batches: run the images of all sources of a branch as one batch, also if their sizes differ, so that BN
            normalizes by the same mixture of sources in training and in evaluation. False: one source after another.
            Defaults to True.
        hints: X-Learner++'s pre-distillation: source name -> ``dict(model=..., checkpoint=..., weight=1.0, ...)`` of a
            frozen single-source model that teaches the source's branch as ``<source>.hint_loss_<level>``, see
            :mod:`~xlearner_mm.models.expansion.hints`. Defaults to None.
        memory_format: of images and features, ``'contiguous'`` or ``'channels_last'``: the same up to rounding, and
            often faster; heads that take views of features may refuse it. Defaults to ``'contiguous'``.
        compile: arguments of ``torch.compile``, as ``dict(mode='default', dynamic=None)``, for branches, links and hint
            teachers: the same up to rounding; heads, and batches of several image sizes, run eagerly. Defaults to None:
            nothing is compiled.
        backward: ``'branch'``: a training step runs the forward and backward pass of one branch's sources after
            another, then one update, so that only one branch's graph is in memory. The gradients are those of
            ``'joint'``, one pass for all, which MMEngine's DDP has in any case. Defaults to None: by branch where links
            are detached, or there are none; joint with one branch, or in a subclass with a ``loss`` of its own.
        init_cfg: mmengine's weight initialization. Defaults to None.

    Raises:
        ConfigError: a source or hint that cannot work with the backbone, differing input normalization, a branch that
            no source trains, or ``backward='branch'`` with links that are not detached or in a subclass with a
            ``loss`` of its own.
        CheckpointError: a hint teacher's checkpoint that is missing or not of its model.
    """

    # Recorded in checkpoints; PruningHook sets 'pruning'.
    stage = 'expansion'

    def __init__(
        self,
        backbone: Mapping[str, Any],
        sources: Mapping[str, Any] | None = None,
        joint_batches: bool = True,
        hints: Mapping[str, Any] | None = None,
        memory_format: str = 'contiguous',
        compile: Mapping[str, Any] | None = None,
        backward: str | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.sources = parse_sources(sources)
        self.joint_batches = joint_batches
        self.backbone: XLearnerExpandedBackbone = MODELS.build(dict(backbone))
        self.backbone_cfg = plain(backbone)
        self.backward = self._check_backward(backward)
        self.networks = ModuleDict(
            {name: build_stock_network(source, self.backbone) for name, source in self.sources.items()}
        )
        preprocessors = {name: net.data_preprocessor for name, net in self.networks.items()}
        for name, preprocessor in preprocessors.items():
            tell_source_order(preprocessor, self.sources[name])
        self.normalization = common_normalization(preprocessors)
        self.data_preprocessor = MultiSourceDataPreprocessor(preprocessors, memory_format)
        self._check_no_branch_is_left_out()
        self._check_every_branch_is_trained()
        self._check_every_level_is_read()
        self.hints = build_hints(hints or {}, self.sources, self.backbone, self.normalization)
        pass_contiguous_where_misread(self)
        hinted = [module for hint in self.hints.values() for module in hint.teacher.whole_modules()]
        compile_in_place('ExpansionLearner', [*self.backbone.whole_modules(), *hinted], compile)

    def init_weights(self) -> None:
        """Initialize branches, links and networks; checkpoints that heads or necks name are read without executing.

        Raises:
            CheckpointError: a checkpoint that is unsafe or damaged, or that leaves a branch at its random start.
        """
        with nothing_executed():
            super().init_weights()

    def _check_backward(self, backward: str | None) -> str:
        if backward not in (None, *BACKWARDS):
            raise ConfigError(f"ExpansionLearner: unknown backward '{backward}', choose from {BACKWARDS}")
        exact = self.backbone.reconciliation.detach or not self.backbone.link_keys
        if backward == 'branch' and not exact:
            raise ConfigError(
                "ExpansionLearner: backward='branch' needs detached links, but reconciliation has detach=False, where "
                "the losses of a branch reach the others: set backward='joint'"
            )
        own = type(self).loss is ExpansionLearner.loss
        if backward == 'branch' and not own:
            raise ConfigError(
                f"{type(self).__name__}: backward='branch' runs losses_of and would leave out what its own loss adds: "
                "set backward='joint', or override losses_of"
            )
        # With one branch it is the same, and DDP overlaps the backward pass with its messages.
        return backward or ('branch' if exact and own and len(self.backbone.branches) > 1 else 'joint')

    def _check_no_branch_is_left_out(self) -> None:
        if len(self.backbone.merged) < len(self.backbone.branches) and self.backbone.reconciliation.detach:
            raise ConfigError(
                f"ExpansionLearner: backbone has merge='{self.backbone.merged[0]}', which freezes all other branches "
                'and is for transfers: leave merge out of the expansion stage'
            )

    def _check_every_branch_is_trained(self) -> None:
        trained = {self.backbone.branch_of(source.task) for source in self.sources.values()}
        idle = set(self.backbone.branches) - trained
        if idle:
            raise ConfigError(
                f'no source trains branch(es) {sorted(idle)}: add a source of their task or remove the branch'
            )

    def _check_every_level_is_read(self) -> None:
        # A stage or link that no loss reaches has no gradient, which plain DDP refuses in the second step.
        for name, branch in self.backbone.branches.items():
            read = self._levels_read(name)
            idle = set(range(max(read) + 1, len(branch.channels)))
            if self.backbone.reconciliation.fuse == 'output':
                linked = {key.receiver_level for key in self.backbone.link_keys if key.receiver == name}
                idle |= linked - read
            if idle:
                raise ConfigError(
                    f"no source reads level(s) {sorted(idle)} of branch '{name}', only {sorted(read)}: build the "
                    'branch with fewer stages, or narrow link_levels to what is read'
                )

    def _levels_read(self, branch: str) -> set[int]:
        ports = (port_of(self.networks[name]) for name in self.sources_of(branch))
        return {level for port in ports if port is not None for level in port.out_indices}

    def train(self, mode: bool = True) -> ExpansionLearner:
        """Set training mode, frozen parts excepted, and return the module as torch's do."""
        super().train(mode)
        if mode:
            apply_norm_eval(self)
        return self

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        data_samples: Mapping[str, list] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Run every source's network on its own images.

        Args:
            inputs: source -> images ``(B, 3, H, W)``.
            data_samples: source -> the stock library's data samples. Defaults to None.
            mode: ``'loss'`` for losses of all sources, ``'predict'`` for the data samples of one source with
                predictions, ``'tensor'`` for F^t by source. Defaults to ``'tensor'``.

        Raises:
            ValueError: an unknown mode, or several sources in ``'predict'``.
        """
        if mode == 'loss':
            assert data_samples is not None
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            if len(inputs) != 1:
                raise ValueError(f'predict takes one source at a time, got {sorted(inputs)}')
            (source, images), samples = next(iter(inputs.items())), data_samples or {}
            return self.networks[source](images, samples.get(source), mode='predict')
        if mode == 'tensor':
            return {
                name: self.backbone.forward_task(images, self.sources[name].task) for name, images in inputs.items()
            }
        raise ValueError(f"unknown mode '{mode}': choose loss, predict or tensor")

    def train_step(
        self, data: Any, optim_wrapper: OptimWrapper, parallel: BranchDataParallel | None = None
    ) -> dict[str, Tensor]:
        """Run the passes of a step, all together or branch by branch, and update the weights.

        Args:
            data: a batch of the loader.
            optim_wrapper: of the training. It sees one loss, the sum of all.
            parallel: averages gradients over the processes. Defaults to None.

        Returns:
            Values to log: the total ``loss``, and all losses by name.
        """
        if self.backward == 'joint':
            return super().train_step(data, optim_wrapper)
        found: dict[str, dict[str, Any]] = {}
        for branch in self.backbone.branches:
            with optim_wrapper.optim_context(self):
                if not found:
                    data = self.data_preprocessor(data, True)
                losses = self.losses_of(branch, data['inputs'], data['data_samples'])
            # Not the instance's: hooks replace it to see the losses of the whole step.
            total, _ = type(self).parse_losses(self, _flat(losses))
            _backward_uncounted(optim_wrapper, total)
            found |= {name: _detached(own) for name, own in losses.items()}
            del losses, total  # and the graph with them
            if parallel is not None:
                parallel.reduce(branch)
        total, values = self.parse_losses(_flat({name: found[name] for name in self.sources}))
        # The gradients are there: the backward pass of this leaf reaches nothing else.
        total = total.detach().requires_grad_()
        if parallel is not None:
            total.register_hook(lambda _: parallel.finish())
        optim_wrapper.update_params(total)
        return values

    def loss(self, inputs: Mapping[str, Tensor], data_samples: Mapping[str, list]) -> dict[str, Any]:
        """Return the losses of all sources as ``<source>.<loss>``, weighted per source, in the order of the config."""
        found: dict[str, dict[str, Any]] = {}
        # In the same order as branch by branch: both draw the same random numbers.
        for branch in self.backbone.branches:
            found |= self.losses_of(branch, inputs, data_samples)
        return _flat({name: found[name] for name in self.sources})

    def losses_of(
        self, branch: str, inputs: Mapping[str, Tensor], data_samples: Mapping[str, list]
    ) -> dict[str, dict[str, Any]]:
        """Return the losses of a branch's sources: source -> ``<source>.<loss>`` -> loss.

        Args:
            branch: the branch's name.
            inputs: images of its sources, or more, as of :meth:`forward`.
            data_samples: their labels.
        """
        # In the order of the config: every rank runs the same graph.
        names = self.sources_of(branch)
        joint = self._joint_features({name: inputs[name] for name in names}) if names and self.joint_batches else {}
        losses: dict[str, dict[str, Any]] = {}
        for name in names:
            source, network, images = self.sources[name], self.networks[name], inputs[name]
            features = joint[name] if name in joint else self.backbone.forward_task(images, source.task)
            port = port_of(network)
            assert port is not None
            with port.serving(images, features):
                own = network(images, data_samples[name], mode='loss')
            hinted = self.hints[name](images, features) if name in self.hints else {}
            losses[name] = losses_of(source, {**own, **hinted})
        return losses

    def sources_of(self, branch: str) -> list[str]:
        """Return the names of a branch's sources, none in a dry run of another branch's source."""
        return [name for name, source in self.sources.items() if self.backbone.branch_of(source.task) == branch]

    def _joint_features(self, inputs: Mapping[str, Tensor]) -> dict[str, Levels]:
        """F^t by source of a branch, all images in one pass; without batch statistics, one pass for each size."""
        features: dict[str, Levels] = {}
        groups = joint_groups(inputs)
        task = self.sources[groups[0][0]].task
        batches = [torch.cat([inputs[name] for name in group]) for group in groups]
        whole = self.backbone.takes_batch_statistics(task)
        shared = [ragged(batches)] if whole else batches
        passes = [self.backbone.forward_task(batch, task) for batch in shared]
        levels = [part for levels in passes for part in zip(*map(parts_of, levels), strict=True)]
        for group, own_levels in zip(groups, levels, strict=True):
            sizes = [len(inputs[name]) for name in group]
            parts = zip(*(level.split(sizes) for level in own_levels), strict=True)
            features.update(zip(group, parts, strict=True))
        return features

    def parts_of(self, branch: str) -> dict[str, nn.Module]:
        """Return what only the losses of a branch's sources train, by its name in this module.

        These are the sub-backbone, the links into it, and the networks and hints of its sources. With ``detach=False``
        other losses reach a sub-backbone too.

        Args:
            branch: the branch's name.
        """
        sources = self.sources_of(branch)
        links = [key.module_name for key in self.backbone.link_keys if key.receiver == branch]
        return {
            f'backbone.branches.{branch}': self.backbone.branches[branch],
            **{f'backbone.links.{name}': self.backbone.links[name] for name in links},
            **{f'networks.{name}': self.networks[name] for name in sources},
            **{f'hints.{name}': self.hints[name] for name in sources if name in self.hints},
        }

    def describe(self) -> dict[str, Any]:
        """Return stage, backbone, tasks, sources and input normalization as plain data."""
        return {
            'stage': self.stage,
            'backbone': {**self.backbone_cfg, **({'widths': widths} if (widths := self.backbone.widths) else {})},
            'tasks': dict(self.backbone.tasks),
            'sources': {name: source.task for name, source in self.sources.items()},
            'normalization': self.normalization.record(),
            'hints': {name: hint.teacher.described() for name, hint in self.hints.items()},
        }

    def check_resumed(self, described: Mapping[str, Any]) -> None:
        """Keep the hint teachers that a resumed training started with, also if the config names other files now.

        Args:
            described: :meth:`describe` of the checkpoint that is resumed.

        Raises:
            CheckpointError: a teacher's file has changed or is missing.
        """
        for name, recorded in described.get('hints', {}).items():
            if name in self.hints:
                self.hints[name].teacher.hold_to(recorded)


def _flat(losses: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: loss for own in losses.values() for name, loss in own.items()}


def _detached(losses: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [part.detach() for part in loss] if isinstance(loss, list | tuple) else loss.detach()
        for name, loss in losses.items()
    }


def _backward_uncounted(optim_wrapper: Any, loss: Tensor) -> None:
    """Run a part of a step's backward pass, scaled as the whole; the wrapper counts whole ones."""
    if isinstance(loss, Tensor) and loss.requires_grad:  # a branch may be frozen with its heads
        counted = optim_wrapper._inner_count
        optim_wrapper.backward(optim_wrapper.scale_loss(loss))
        optim_wrapper._inner_count = counted
