"""When checkpoints are written: every so often, at the end, and when a score is the best so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from poseplug.engine import checkpoint
from poseplug.registry import HOOKS


@HOOKS.register_module()
class SaveHook(Hook):
    """Saves every `interval` (in the unit of the training loop: steps or epochs) and at the end, keeping `keep` files.

    `best` names a score: when it rises, the weights (averaged ones where there are) are saved as `best.pth` too.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 1, keep: int = 2, best: str | None = None):
        self.interval, self.keep, self.best = interval, keep, best
        self.highest = float('-inf')

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.due = (runner.iter + 1) % (self.interval * runner.train_loop.unit) == 0

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter and getattr(self, 'due', False):
            self.due = False
            self.save(runner)

    def after_train(self, runner: Any) -> None:
        self.save(runner)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        score = (metrics or {}).get(self.best or '')
        if score is not None and score > self.highest:
            self.highest = score
            self.save(runner, 'best.pth')

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint['meta']['highest'] = self.highest

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if runner._resume:
            self.highest = checkpoint['meta'].get('highest', self.highest)

    def save(self, runner: Any, name: str | None = None) -> None:
        if runner.rank == 0:
            folder, step = Path(runner.work_dir), runner.iter
            checkpoint.save(folder, name or f'step_{step:07d}.pth', runner.state(), step, self.keep, best=bool(name))
