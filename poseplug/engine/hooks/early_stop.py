"""Ends a run whose score no longer improves."""

from __future__ import annotations

__all__ = ['EarlyStopHook']

import math
from typing import Any

from mmengine.hooks import Hook

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.core.setting_checks import check_counts, check_not_negative
from poseplug.engine.runner_types import RunnerLike
from poseplug.registry import HOOKS

_VALIDATION_LOSS = 'loss_val'  # the only score that is no metric's


@HOOKS.register_module()
class EarlyStopHook(Hook):
    """Ends a run if a score has not improved for a number of evaluations.

    A config writes `early_stop=dict(metric='PCK@0.2', patience=5)`. The count is part of the checkpoints, so that a
    resumed run ends where an undisturbed one does. Whether lower is better belongs to the metric.

    Args:
        metric: the name of a score, such as 'PCK@0.2', or 'loss_val' with `train_cfg.val_loss`.
        patience: the number of evaluations in a row without an improvement after which the run ends.
        min_delta: the improvement that counts, in the unit of the score.

    Raises:
        ConfigError: a number is too small, no evaluation returns the score, or the config has no evaluations.
    """

    priority = 'LOW'  # after the score is logged, before a checkpoint is written

    def __init__(self, metric: str, patience: int = 5, min_delta: float = 0.0):
        check_counts('early_stop', patience=patience)
        check_not_negative('early_stop', min_delta=min_delta)
        self.metric, self.patience, self.min_delta = metric, patience, min_delta
        self.best_score: float | None = None
        self.num_evaluations_without_gain = 0

    def before_train(self, runner: RunnerLike) -> None:
        """Check that the run is evaluated, and returns the score."""
        if runner.val_loop is None:
            raise ConfigError(
                f'early_stop waits for {self.metric!r}, but nothing is evaluated; set val_dataloader and '
                f'train_cfg.val_interval, or remove early_stop'
            )
        runner.val_loop.check_score(self.metric, 'early_stop')

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Count an evaluation without an improvement, and end the run after `patience` of them."""
        # a signal stopped the evaluation
        if not metrics:
            return
        if self.metric not in metrics:
            scores = ', '.join(name for name in metrics if '/' not in name)
            message = f'early_stop: no score is called {self.metric!r}'
            raise ConfigError(compose_message(message, suggest_closest(self.metric, metrics), f'there are {scores}'))
        score = metrics[self.metric]
        if self._is_better(score, self._is_lower_better(runner)):
            self.best_score, self.num_evaluations_without_gain = score, 0
            return
        self.num_evaluations_without_gain += 1
        if self.num_evaluations_without_gain >= self.patience:
            best = 'none that is finite' if self.best_score is None else f'{self.best_score:g}'
            runner.train_loop.request_stop(
                f'{self.metric} has not improved in {self.num_evaluations_without_gain} evaluations (best {best}, last '
                f'{score:g}); early_stop.patience is {self.patience}'
            )

    def _is_lower_better(self, runner: RunnerLike) -> bool:
        """Whether a lower score is a better one."""
        result: Any = None if runner.val_loop is None else runner.val_loop.result
        lower_scores = getattr(getattr(result, 'scores', None), 'lower_is_better', ())
        return self.metric == _VALIDATION_LOSS or self.metric in lower_scores

    def _is_better(self, score: float, is_lower_better: bool) -> bool:
        """Whether a score improves the best one by `min_delta`; one that is not finite never does."""
        if not math.isfinite(score):
            return False
        if self.best_score is None:
            return True
        gain = self.best_score - score if is_lower_better else score - self.best_score
        return gain > self.min_delta

    def before_save_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        # plain values: checkpoints are loaded with an empty allow-list
        checkpoint['meta']['early_stop'] = [self.metric, self.best_score, self.num_evaluations_without_gain]

    def after_load_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """Restore the count of a resumed run, if it is of the same score."""
        state = checkpoint.get('meta', {}).get('early_stop')
        if runner.is_resumed and state and state[0] == self.metric:
            _, self.best_score, self.num_evaluations_without_gain = state
