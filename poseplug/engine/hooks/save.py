"""When checkpoints are written: at intervals, at the end, and at the best score so far."""

from __future__ import annotations

__all__ = ['SaveHook']

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.core.setting_checks import check_counts, check_positive, setting_error
from poseplug.engine import checkpoint
from poseplug.engine.distributed import all_reduce_any
from poseplug.engine.runner_types import RunnerLike
from poseplug.files.checkpoint_folder import BEST_CHECKPOINT_FILE
from poseplug.registry import HOOKS

_LOGGER = logging.getLogger('poseplug')
_STEPS_BETWEEN_CLOCK_CHECKS = 20  # of several processes, which have to agree


@HOOKS.register_module()
class SaveHook(Hook):
    """Saves checkpoints during training, as `step_NNNNNNN.pth`, and the best one as `best.pth`.

    Args:
        interval: steps between checkpoints, or epochs if the training loop counts these; a float is a fraction of the
            run. The last step is saved, too.
        interval_minutes: minutes between checkpoints, in addition to `interval`; None saves by steps or epochs alone.
        max_keep_ckpts: the number of newest checkpoints to keep, at least 1; `best.pth` is kept in addition.
        save_best: the name of a score, such as 'PCK@0.2'. When an evaluation improves it, the weights (the averaged
            ones where there are) are saved as `best.pth`. The metric says whether a lower score is a better one. None
            saves no best checkpoint.

    Raises:
        ConfigError: a number is below 1, `save_best` is no name, or no metric returns the score `save_best`: before the
            first step where the scores can be found out from the annotations, else at the first evaluation.
    """

    # the other hooks add what they know of the step before it is saved
    priority = 'LOWEST'

    def __init__(
        self,
        interval: float = 1,
        max_keep_ckpts: int = 2,
        save_best: str | None = None,
        interval_minutes: float | None = 10.0,
    ):
        check_interval = check_positive if isinstance(interval, float) else check_counts
        check_interval('SaveHook', interval=interval)
        check_counts('SaveHook', max_keep_ckpts=max_keep_ckpts)
        if save_best is not None and not isinstance(save_best, str):
            raise setting_error('SaveHook', 'save_best', "the name of one score, such as 'PCK@0.2'", save_best)
        if interval_minutes is not None:
            check_positive('SaveHook', interval_minutes=interval_minutes)
        self.interval_minutes, self.last_saved_time = interval_minutes, time.monotonic()
        self.interval, self.max_keep_ckpts, self.save_best = interval, max_keep_ckpts, save_best
        self.best_score: float | None = None
        self.last_saved_step: int | None = None

    def before_train(self, runner: RunnerLike) -> None:
        """Check `save_best`, and remove the incomplete files that an interrupted save has left in the work dir."""
        self._check_score_name(runner)
        if runner.rank == 0:
            checkpoint.remove_partial_files(Path(runner.work_dir))
        self.last_saved_time = time.monotonic()

    def before_train_iter(self, runner: RunnerLike, batch_idx: int, data_batch: Any = None) -> None:
        """Save the result of the previous steps, if it is due.

        This is the start of the next step rather than the end of the last one, so that an evaluation that was due in
        between is part of the checkpoint.
        """
        interval = runner.train_loop.interval_to_steps(self.interval, 'default_hooks.checkpoint.interval')
        is_due = runner.iter % interval == 0
        # step 0 has nothing to save
        if runner.iter and (is_due or self._is_time_for_save(runner)):
            self.save_checkpoint(runner)

    def _is_time_for_save(self, runner: RunnerLike) -> bool:
        """Whether the last checkpoint is `interval_minutes` old; several processes ask each other now and then."""
        if self.interval_minutes is None or (runner.world_size > 1 and runner.iter % _STEPS_BETWEEN_CLOCK_CHECKS):
            return False
        # clocks of processes differ, and all have to collect the checkpoint in the same step
        return all_reduce_any(time.monotonic() - self.last_saved_time >= 60 * self.interval_minutes)

    def after_train(self, runner: RunnerLike) -> None:
        self.save_checkpoint(runner)

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Save `best.pth` if the score `save_best` is the best so far."""
        if self.save_best is None or not metrics:
            return
        if self.save_best not in metrics:
            raise self._name_error(metrics)
        result = None if runner.val_loop is None else runner.val_loop.result
        is_lower_better = result is not None and self.save_best in result.scores.lower_is_better
        score = metrics[self.save_best]
        if not math.isfinite(score):
            message = 'step %d: %s is %s, which is not compared; the best checkpoint stays as it is'
            _LOGGER.warning(message, runner.iter, self.save_best, score)
        elif self._is_better(score, is_lower_better):
            self.best_score = score
            self._write_file(runner, BEST_CHECKPOINT_FILE)

    def _is_better(self, score: float, is_lower_better: bool) -> bool:
        """Whether a score is better than the best one so far."""
        if self.best_score is None:
            return True
        return score < self.best_score if is_lower_better else score > self.best_score

    def _check_score_name(self, runner: RunnerLike) -> None:
        """Check before the first step that evaluations will return the score `save_best`."""
        if self.save_best is None:
            return
        if runner.val_loop is None:
            _LOGGER.warning('save_best=%r saves nothing: the config has no val_dataloader', self.save_best)
            return
        scores = runner.val_loop.find_scores(self.save_best)
        if scores is not None and self.save_best not in scores.values:
            raise self._name_error(scores.values)

    def _name_error(self, scores: Mapping[str, float]) -> ConfigError:
        """The error of a score that no metric returns, with the names of those that there are."""
        totals = ', '.join(name for name in scores if '/' not in name) or 'none'
        hint = suggest_closest(str(self.save_best), scores)
        message = f'SaveHook: no score is called save_best={self.save_best!r}'
        return ConfigError(compose_message(message, hint, f'val_evaluator returns {totals}'))

    def before_save_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        checkpoint['meta'].update(best_score=self.best_score, best_score_name=self.save_best)

    def after_load_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """Restore the best score of a resumed run, so that a worse one does not replace `best.pth`."""
        if runner.is_resumed:
            meta = checkpoint['meta']
            # The best value of another score says nothing about this one.
            if meta.get('best_score_name', self.save_best) == self.save_best:
                self.best_score = meta.get('best_score')
            self.last_saved_step = checkpoint['meta']['step']

    def save_checkpoint(self, runner: RunnerLike) -> None:
        """Write the checkpoint of the current step, unless it was written already."""
        if self.last_saved_step != runner.iter:
            self.last_saved_step = runner.iter
            self._write_file(runner, f'step_{runner.iter:07d}.pth')

    def _write_file(self, runner: RunnerLike, file_name: str) -> None:
        """Collect the checkpoint in all processes, and write it in the first."""
        if file_name != BEST_CHECKPOINT_FILE:
            self.last_saved_time = time.monotonic()
        # in all processes, since sharded weights are gathered from them
        content = runner.collect_checkpoint()
        if runner.rank != 0:
            return
        is_best = file_name == BEST_CHECKPOINT_FILE
        folder = Path(runner.work_dir)
        checkpoint.save_checkpoint(folder, file_name, content, runner.iter, self.max_keep_ckpts, is_best=is_best)
