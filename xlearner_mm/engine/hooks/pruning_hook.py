"""Pruning of the expanded backbone during training."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from xlearner_mm.checkpoint import META_KEY, resolve_checkpoint, sha256_of
from xlearner_mm.engine.hooks.stage_meta_hook import StageMetaHook
from xlearner_mm.engine.optim.wrapper import wrappers_of
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.expansion.branch import pretrained_of
from xlearner_mm.models.expansion.expanded_backbone import XLearnerExpandedBackbone, expanded_backbone_of
from xlearner_mm.models.expansion.links import narrow_as
from xlearner_mm.models.squeeze.pruning import (
    CRITERION,
    Pruning,
    build_criterion,
    check_count,
    check_plan,
    size_table,
)
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import HOOKS, MODELS

# The iteration of a pruning step may only accumulate gradients, or be skipped for an overflow.
_LOOK_BACK = 10


@HOOKS.register_module()
class PruningHook(Hook):
    """X-Learner_p: prune in steps, ``interval`` iterations apart, then fine-tune.

    It trains an :class:`~xlearner_mm.models.expansion.ExpansionLearner` from the expansion stage's checkpoint
    (``load_from``) with the same sources, losses, schedule and optimizer, whose state is pruned too. Checkpoints record
    origin and widths for resumed trainings, tests, exports and downstream backbones. All processes prune alike, since
    their weights and averaged gradients are the same.

    Args:
        interval: iterations before each step.
        criterion: importance of channels, see :func:`~xlearner_mm.models.squeeze.pruning.build_criterion`. Defaults to
            ``dict(type='GroupMagnitudeImportance')``.
        target_params: parameters of the expanded backbone to reach. Defaults to None.
        target_flops: multiply-adds for one image to reach, instead of parameters. Defaults to None.
        steps: steps to the target. Defaults to 5.
        keep: share of each inner width that is never pruned. Defaults to 0.1.
        input_size: height and width of the image that FLOPs are counted for. Defaults to (224, 224).

    Raises:
        ConfigError: not exactly one target, an unknown criterion, or an impossible setting; when training starts: no
            expanded backbone, one that starts at random, a target out of reach, too few iterations, EMAHook, or no
            StageMetaHook.
    """

    # After StageMetaHook, whose record it adds to; before checkpoints are written.
    priority = 'BELOW_NORMAL'

    def __init__(
        self,
        interval: int,
        criterion: Mapping[str, Any] = CRITERION,
        target_params: float | None = None,
        target_flops: float | None = None,
        steps: int = 5,
        keep: float = 0.1,
        input_size: tuple[int, int] = (224, 224),
    ) -> None:
        check_count('interval', interval)
        check_plan(target_params, target_flops, steps, keep, input_size)
        self._reads_gradients = build_criterion(criterion).needs_gradients
        self.interval = interval
        self.criterion = criterion
        self.settings: dict[str, Any] = {
            'target_params': target_params,
            'target_flops': target_flops,
            'steps': steps,
            'keep': keep,
            'input_size': input_size,
        }
        self._gradients: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self._origin: dict[str, str] | None = None

    def before_run(self, runner: Runner) -> None:
        """Plan the steps from the config's shapes, whatever those of a checkpoint."""
        learner = unwrapped(runner.model)
        self._backbone = self._check(runner)
        learner.stage = 'pruning'
        with torch.random.fork_rng(devices=[]):
            unpruned = MODELS.build(learner.backbone_cfg)
        self.pruning = Pruning(unpruned, criterion=self.criterion, **self.settings)
        # In a test, asking for its length would build the training with its data.
        if isinstance(runner._train_loop, BaseLoop):
            self._check_length(runner)
        runner.logger.info(f'pruning from {self.pruning.full}, {self.pruning.floor} at the least')

    def _check(self, runner: Runner) -> XLearnerExpandedBackbone:
        backbone = expanded_backbone_of(runner.model)
        if backbone is None:
            raise ConfigError('pruning: PruningHook needs an ExpansionLearner, whose expanded backbone it prunes')
        if not any(isinstance(hook, StageMetaHook) for hook in runner.hooks):
            raise ConfigError('pruning: add StageMetaHook to custom_hooks: it records the widths in checkpoints')
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise ConfigError('pruning: remove EMAHook: the average would keep the shapes from before pruning')
        return backbone

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Prune to the widths of a checkpoint before its weights are loaded."""
        narrow_as(self._backbone, checkpoint)
        if runner._resume:
            self._origin = checkpoint.get('meta', {}).get(META_KEY, {}).get('pruned_from')
        else:
            path = resolve_checkpoint(str(runner._load_from))
            self._origin = {'checkpoint': path, 'sha256': sha256_of(path)}

    def before_train(self, runner: Runner) -> None:
        """Wrap a pruned model again, and keep gradients if the criterion needs them."""
        if not runner._has_loaded and not _start_pretrained(self._backbone):
            raise ConfigError(
                'pruning: the backbone starts at random: set load_from to what the expansion stage has saved'
            )
        if self._backbone.widths:
            _rewrap(runner)
        if self._reads_gradients:
            self._handles = [
                wrapper.optimizer.register_step_pre_hook(lambda *_: self._remember(runner))
                for wrapper in wrappers_of(runner.optim_wrapper).values()
            ]

    def _check_length(self, runner: Runner) -> None:
        last = self.pruning.steps * self.interval
        if last > runner.max_iters:
            raise ConfigError(
                f'pruning: the last of {self.pruning.steps} steps is at iteration {last}, beyond max_iters='
                f'{runner.max_iters}; lower steps or interval'
            )

    def _remember(self, runner: Runner) -> None:
        """Keep the gradients of the last update before a pruning step: the optimizer wrapper resets them."""
        if any(self._step_after(runner.iter + 1 + ahead) for ahead in range(_LOOK_BACK)):
            self._gradients = {
                name: parameter.grad.clone()
                for name, parameter in self._backbone.named_parameters()
                if parameter.grad is not None
            }

    def _step_after(self, iteration: int) -> int:
        """Return the number of the step that is due after an iteration, from 1, or 0."""
        step, rest = divmod(iteration, self.interval)
        return step if rest == 0 and step <= self.pruning.steps else 0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Prune if a step is due."""
        step = self._step_after(runner.iter + 1)
        if not step:
            return
        if self._reads_gradients and not self._gradients:
            raise ConfigError(
                f"pruning: criterion '{self.criterion['type']}' reads gradients, but none of the last {_LOOK_BACK} "
                'iterations before this step has updated weights; lower accumulative_counts, or take another criterion'
            )
        for name, parameter in self._backbone.named_parameters():
            parameter.grad = self._gradients.get(name)
        optimizers = [wrapper.optimizer for wrapper in wrappers_of(runner.optim_wrapper).values()]
        size = self.pruning.prune(self._backbone, step, optimizers)
        runner.optim_wrapper.zero_grad()
        self._gradients = {}
        _forget_graphs(outputs)
        _rewrap(runner)
        following = f'next at iteration {(step + 1) * self.interval}' if step < self.pruning.steps else 'the last'
        runner.logger.info(
            f'pruning step {step} of {self.pruning.steps}: {size}; target {self.pruning.target / 1e6:.3f} M '
            f'{self.pruning.measure}; {following}'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add sizes and origin to the record of the stage."""
        checkpoint['meta'][META_KEY] |= {'sizes': self.pruning.sizes(self._backbone), 'pruned_from': self._origin}

    def after_train(self, runner: Runner) -> None:
        """Log the sizes, beside that of a plain backbone."""
        for handle in self._handles:
            handle.remove()
        runner.logger.info(f'pruned:\n{size_table(self.pruning.sizes(self._backbone))}')


def _start_pretrained(backbone: XLearnerExpandedBackbone) -> bool:
    """Return whether the backbone, or every branch of it, has an ``init_cfg`` that reads a checkpoint."""
    return _reads_checkpoint(backbone) or all(_reads_checkpoint(b.backbone) for b in backbone.branches.values())


def _reads_checkpoint(module: nn.Module) -> bool:
    # XLearnerResNet takes the entry out of its init_cfg.
    return bool(pretrained_of(module) or getattr(module, 'pretrained_cfg', None))


def _forget_graphs(outputs: Any) -> None:
    """Free the graphs of the step and of the dependencies: autograd would expect gradients of their old shapes."""
    for name, value in (outputs or {}).items():
        if isinstance(value, Tensor):
            outputs[name] = value.detach()
    gc.collect()


def _rewrap(runner: Runner) -> None:
    """Wrap the model again: DDP's buckets have the shapes of its construction."""
    if is_model_wrapper(runner.model):
        model, runner.model = runner.model.module, None
        gc.collect()  # the old wrapper's hooks on the parameters go with it
        runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)
