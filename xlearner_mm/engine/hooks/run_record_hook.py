"""Leave in the work directory what a training's result depends on."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.engine.run_record import RECORD, add_start, describe_start
from xlearner_mm.registry import HOOKS


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Write every start of a training into ``run.json`` of its work directory, before the first step.

    Each has versions, git state, a digest of the config (MMEngine writes the config itself beside it), fingerprints of
    every source's data, hashes of teachers, hints and checkpoints started from, seed and machine. A start that differs
    from the one before it is told in the log: what a resumed training then ends with is not that of one never stopped.

    Raises:
        ConfigError: the file that is there is damaged.
    """

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Write one entry."""
        work_dir = Path(runner.work_dir)
        changed = add_start(work_dir, describe_start(runner))
        kept = getattr(runner, 'not_taken_over', ())
        if kept:
            runner.logger.warning(
                f"{work_dir / RECORD}: the checkpoint's schedule and optimizer settings go on, unless you give "
                f'--resume-schedule config; not taken over: {", ".join(kept)}'
            )
        if changed and runner.iter > 0:
            runner.logger.warning(f'{work_dir / RECORD}: changed since the start before: {", ".join(changed)}')
