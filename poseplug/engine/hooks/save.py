"""When checkpoints are written: at intervals, at the end, and at the best score so far."""

from __future__ import annotations

__all__ = ['SaveHook']

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from poseplug.core.errors import ConfigError, suggest_closest
from poseplug.engine import checkpoint
from poseplug.engine.runner_types import RunnerLike
from poseplug.files.checkpoint_folder import BEST_CHECKPOINT_FILE
from poseplug.registry import HOOKS


@HOOKS.register_module()
class SaveHook(Hook):
    """Saves checkpoints during training, as `step_NNNNNNN.pth`, and the best one as `best.pth`.

    Args:
        interval: steps between checkpoints, or epochs if the training loop counts these. The last step is saved, too.
        max_keep_ckpts: the number of newest checkpoints to keep, at least 1; `best.pth` is kept in addition.
        save_best: the name of a score, such as 'PCK@0.2'. When an evaluation raises it, the weights (the averaged ones
            where there are) are saved as `best.pth`. None saves no best checkpoint.

    Raises:
        ConfigError: a number is below 1, or no metric returns the score `save_best`.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 1, max_keep_ckpts: int = 2, save_best: str | None = None):
        if interval < 1 or max_keep_ckpts < 1:
            raise ConfigError(
                f'SaveHook: interval and max_keep_ckpts are at least 1; got {interval} and {max_keep_ckpts}'
            )
        self.interval, self.max_keep_ckpts, self.save_best = interval, max_keep_ckpts, save_best
        self.best_score = float('-inf')
        self.last_saved_step: int | None = None

    def before_train(self, runner: RunnerLike) -> None:
        """Remove the incomplete files that an interrupted save has left in the work dir."""
        if runner.rank == 0:
            checkpoint.remove_partial_files(Path(runner.work_dir))

    def before_train_iter(self, runner: RunnerLike, batch_idx: int, data_batch: Any = None) -> None:
        """Save the result of the previous steps, if it is due.

        This is the start of the next step rather than the end of the last one, so that an evaluation that was due in
        between is part of the checkpoint.
        """
        if runner.iter and runner.iter % (self.interval * runner.train_loop.steps_per_unit) == 0:
            self.save(runner)

    def after_train(self, runner: RunnerLike) -> None:
        self.save(runner)

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Save `best.pth` if the score `save_best` is the highest so far."""
        if self.save_best is None or not metrics:
            return
        if self.save_best not in metrics:
            scores = ', '.join(n for n in metrics if '/' not in n)
            hint = suggest_closest(self.save_best, metrics) or f'there are {scores}'
            raise ConfigError(f'SaveHook: no score is called save_best={self.save_best!r}; {hint}')
        if metrics[self.save_best] > self.best_score:
            self.best_score = metrics[self.save_best]
            self._write(runner, BEST_CHECKPOINT_FILE)

    def before_save_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        checkpoint['meta']['best_score'] = self.best_score

    def after_load_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """Restore the best score of a resumed run, so that a lower one does not replace `best.pth`."""
        if runner.is_resumed:
            self.best_score = checkpoint['meta'].get('best_score', self.best_score)
            self.last_saved_step = checkpoint['meta']['step']

    def save(self, runner: RunnerLike) -> None:
        """Write the checkpoint of the current step, unless it was written already."""
        if self.last_saved_step != runner.iter:
            self.last_saved_step = runner.iter
            self._write(runner, f'step_{runner.iter:07d}.pth')

    def _write(self, runner: RunnerLike, file_name: str) -> None:
        """Collect the checkpoint in all processes, and write it in the first."""
        content = runner.collect_checkpoint()
        if runner.rank != 0:
            return
        is_best = file_name == BEST_CHECKPOINT_FILE
        folder = Path(runner.work_dir)
        checkpoint.save_checkpoint(folder, file_name, content, runner.iter, self.max_keep_ckpts, is_best=is_best)
