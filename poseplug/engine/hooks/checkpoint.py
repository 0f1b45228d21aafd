"""When checkpoints are written: every so often, at the end, and when a score is the best so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from poseplug.engine import checkpoint
from poseplug.engine.checkpoint import BEST
from poseplug.errors import ConfigError, closest
from poseplug.registry import HOOKS


@HOOKS.register_module()
class SaveHook(Hook):
    """Saves every `interval` (in the unit of the training loop: steps or epochs) and at the end, keeping `keep` files.

    `best` names a score: when it rises, the weights (averaged ones where there are) are saved as `best.pth` too.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 1, keep: int = 2, best: str | None = None):
        if interval < 1 or keep < 1:
            raise ConfigError(f'SaveHook: interval and keep are at least 1; got {interval} and {keep}')
        self.interval, self.keep, self.best = interval, keep, best
        self.highest = float('-inf')
        self.saved: int | None = None

    def before_train(self, runner: Any) -> None:
        if runner.rank == 0:
            checkpoint.clean(Path(runner.work_dir))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Save what the steps so far, and the evaluation that was due, have led to."""
        if runner.iter and runner.iter % (self.interval * runner.train_loop.unit) == 0:
            self.save(runner)

    def after_train(self, runner: Any) -> None:
        self.save(runner)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if self.best is None or not metrics:
            return
        if self.best not in metrics:
            hint = closest(self.best, metrics) or f'there are {", ".join(n for n in metrics if "/" not in n)}'
            raise ConfigError(f'SaveHook: no score is called best={self.best!r}; {hint}')
        if metrics[self.best] > self.highest:
            self.highest = metrics[self.best]
            self._write(runner, BEST)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint['meta']['highest'] = self.highest

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if runner._resume:
            self.highest = checkpoint['meta'].get('highest', self.highest)
            self.saved = checkpoint['meta']['step']

    def save(self, runner: Any) -> None:
        """Write the checkpoint of the present step, unless it was written just now."""
        if self.saved != runner.iter:
            self.saved = runner.iter
            self._write(runner, f'step_{runner.iter:07d}.pth')

    def _write(self, runner: Any, name: str) -> None:
        state = runner.state()
        if runner.rank == 0:
            checkpoint.save(Path(runner.work_dir), name, state, runner.iter, self.keep, best=name == BEST)
