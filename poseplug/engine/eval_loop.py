"""The evaluation loop: predictions of all batches, their scores, and on request the validation loss."""

from __future__ import annotations

__all__ = ['EvalLoop']

from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError, PluginError, compose_message, suggest_closest
from poseplug.engine.distributed import all_gather_objects
from poseplug.engine.evaluate import evaluate
from poseplug.engine.runner_types import RunnerLike
from poseplug.evaluation.base import Metric, MetricResult
from poseplug.evaluation.results import EvaluationResult, list_possible_scores
from poseplug.registry import LOOPS

_VALIDATION_LOSS = 'loss_val'


class _EvaluationStopped(Exception):
    """A signal stopped the run during an evaluation."""


@LOOPS.register_module()
class EvalLoop(BaseLoop):
    """Evaluates the current weights; several processes divide the batches.

    Args:
        runner: the runner; it provides the strategy, which predicts, and the hooks.
        dataloader: the test batches.
        evaluator: a function that returns a new list of metrics.
        all_stages: whether every stage of the head is measured.
        phase: the name of the hook points, such as 'val' for `before_val` and `after_val_epoch`.

    Attributes:
        result: of the last evaluation; None before the first, and after one that a signal stopped.

    Raises:
        ConfigError: a metric can measure none of the annotated samples.
    """

    def __init__(
        self,
        runner: RunnerLike,
        dataloader: DataLoader,
        evaluator: Callable[[], list[Metric]],
        all_stages: bool = False,
        phase: str = 'val',
    ):
        super().__init__(runner, dataloader)
        self.create_metrics, self.all_stages, self.phase = evaluator, all_stages, phase
        self.result: EvaluationResult | None = None
        self._loss_sum, self._num_samples = 0.0, 0  # of the evaluation that runs
        self.find_scores()  # before the first step, so that a metric that the data do not suit costs no training

    def find_scores(self, name: str | None = None) -> MetricResult | None:
        """Find out which scores evaluations will return, see `list_possible_scores`.

        Args:
            name: of a score that is looked for.

        Returns:
            The scores by name; None where that is not known.
        """
        records = getattr(self.dataloader.dataset, 'records', ())
        if not records:
            return None
        return list_possible_scores(self.create_metrics, records, f'{self.phase}_evaluator', name)

    def check_score(self, name: str, setting: str) -> bool | None:
        """Check that evaluations will return a score.

        Args:
            name: of the score.
            setting: that names it, for the message.

        Returns:
            Whether a lower value is a better one; None where it is not known which scores there will be.

        Raises:
            ConfigError: no score has the name.
        """
        # the loss is computed by the loop itself and is no score of a metric
        if name == _VALIDATION_LOSS and self.runner.train_loop.val_loss:
            return True
        scores = self.find_scores(name)
        # a signal stopped the evaluation; the resumed run repeats it
        if scores is None:
            return None
        if name not in scores.values:
            totals = ', '.join(each for each in scores.values if '/' not in each) or 'none'
            hint = suggest_closest(name, scores.values)
            message = f'{setting}: no score is called {name!r}'
            raise ConfigError(compose_message(message, hint, f'{self.phase}_evaluator returns {totals}'))
        return name in scores.lower_is_better

    def run(self) -> dict[str, float] | None:
        """Evaluate once.

        Returns:
            The scores by name, or None if a signal stopped the evaluation. `result` holds the whole result.

        Raises:
            PluginError: a metric of a plugin fails.
        """
        self.runner.call_hook(f'before_{self.phase}')
        self.runner.call_hook(f'before_{self.phase}_epoch')
        self.runner.model.eval()
        dataset: Any = self.dataloader.dataset
        self._loss_sum, self._num_samples = 0.0, 0
        failure = None
        try:
            self.result = evaluate(
                self.runner.strategy,
                self._iterate_batches(),
                self.create_metrics,
                self.all_stages,
                getattr(dataset, 'undetected_records', ()),
                # of several processes alone; one process has no batches to exchange
                getattr(self.dataloader.batch_sampler, 'num_batches', None),
            )
        except _EvaluationStopped:
            self.result = None
        except PluginError as error:  # after the hooks, which restore the weights that they replaced by averages
            self.result, failure = None, error
        self.runner.strategy.finish_prediction()
        scores = None if self.result is None else {**self.result.values, **self._average_losses()}
        self.runner.call_hook(f'after_{self.phase}_epoch', metrics=scores)
        self.runner.call_hook(f'after_{self.phase}')
        if failure is not None:
            raise failure
        return scores

    def _iterate_batches(self) -> Iterator[Batch]:
        """The batches of the loader, until a signal asks the run to stop."""
        for batch in self.dataloader:
            if self.runner.train_loop.is_stop_requested():
                raise _EvaluationStopped
            if self.runner.train_loop.val_loss:
                self._add_losses(batch)
            yield batch

    @torch.no_grad()
    def _add_losses(self, batch: Batch) -> None:
        """Add the sum of a batch's losses."""
        losses = self.runner.model.losses(batch)
        # a loss is the mean over its batch, and the last batch may be smaller
        self._loss_sum += float(torch.stack(list(losses.values())).sum()) * len(batch)
        self._num_samples += len(batch)

    def _average_losses(self) -> dict[str, float]:
        """The mean loss of the samples of all processes as 'loss_val'; empty if it is not computed."""
        if not self.runner.train_loop.val_loss:
            return {}
        sums, counts = zip(*all_gather_objects((self._loss_sum, self._num_samples)), strict=True)
        return {_VALIDATION_LOSS: sum(sums) / max(1, sum(counts))}
