"""Training and evaluation loops on mmengine's runner: a step is a number, and a run goes on exactly at its step."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.runner import BaseLoop
from torch import Tensor
from torch.utils.data import DataLoader

from poseplug.datasets.samplers import EpochBatches, RatioBatches
from poseplug.engine.distributed import gather_again, largest, settings, share_statistics, wait
from poseplug.engine.evaluate import Evaluation, evaluate
from poseplug.engine.signals import Stop
from poseplug.errors import ConfigError
from poseplug.registry import LOOPS

LOGGER = logging.getLogger('poseplug')


@LOOPS.register_module()
class TrainLoop(BaseLoop):
    """Steps over shuffled batches; give `steps` or `epochs`, and `val_interval` in the same unit (0: only at the end).

    A step is one update of the weights. It takes as many batches as the optimiser wrapper accumulates, which are the
    samples of one batch so many times as large. A resumed run starts at its step and reads nothing of what came before.
    `distributed` is how several processes train the model (`poseplug.engine.distributed.settings`).
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader,
        steps: int | None = None,
        epochs: int | None = None,
        val_interval: int = 0,
        distributed: str | Mapping[str, Any] | None = None,
    ):
        super().__init__(runner, dataloader)
        settings(distributed)  # the runner has put the model into parts before
        if (steps is None) == (epochs is None) or (steps or epochs or 0) < 1:
            raise ConfigError(f'train_cfg needs either steps or epochs, 1 at least; got steps={steps}, epochs={epochs}')
        batches: Any = dataloader.batch_sampler
        self.batches: EpochBatches | RatioBatches = batches
        self.accumulated: int = runner.accumulated
        self.samples = batches.batch_size * batches.world * self.accumulated  # of a step
        self.per_epoch = -(-len(batches) // self.accumulated)
        self.taken: list[Any] = []  # the batches of the step at hand
        self.unit = 1 if epochs is None else self.per_epoch
        self._max_iters: int = steps or (epochs or 0) * self.per_epoch
        self._max_epochs = -(-self._max_iters // self.per_epoch)
        self._iter, self._epoch, self.evaluated = 0, 0, 0
        self.val_interval, self.val_begin = val_interval * self.unit, 1
        self.stop_training, self.stop = False, Stop()

    @property
    def max_iters(self) -> int:
        return self._max_iters

    @property
    def max_epochs(self) -> int:
        return self._max_epochs

    @property
    def iter(self) -> int:
        return self._iter

    @property
    def epoch(self) -> int:
        return self._epoch

    def run(self) -> Any:
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        self.batches.start = self._iter * self.accumulated
        with Stop() as self.stop:
            self._steps()
        runner.call_hook('after_train')
        if self.stop.signal is not None:
            wait()  # who starts several processes ends all when one has left, and the first may still be saving
            LOGGER.info('stopped at step %d of %d, saved; go on with --resume', self._iter, self._max_iters)
        self.stop.leave()
        return runner.model

    def _steps(self) -> None:
        """Every step that is left, each evaluation that is due, and one at the end."""
        self.runner.train_mode()
        loader = iter(self.dataloader) if self._iter < self._max_iters else iter(())
        while self._iter < self._max_iters and not self.ended():
            if self.val_interval and self._iter % self.val_interval == 0:
                self.evaluate()
                if self.stopped():
                    return
            self.step([next(loader) for _ in range(self.accumulated)])
        if not self.stopped():
            self.evaluate()

    def ended(self) -> bool:
        """Whether a hook or a signal has ended the run."""
        return self.stop_training or self.stopped()

    def stopped(self) -> bool:
        """Whether a signal has stopped the run, this process or another one of it."""
        self.stop.signal = largest(self.stop.signal or 0) or None
        return self.stop.signal is not None

    def step(self, batches: list[Any]) -> None:
        """One optimiser step, and the end of the epoch where it is one. Hooks are told the last of its batches."""
        runner, self.taken = self.runner, batches
        runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=batches[-1])
        outputs = mean([runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper) for batch in batches])
        share_statistics(runner.bare_model)
        runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=batches[-1], outputs=outputs)
        self._iter += 1
        if self._iter % self.per_epoch == 0:
            runner.call_hook('after_train_epoch')
            self._epoch += 1
            runner.call_hook('before_train_epoch')

    def evaluate(self) -> None:
        """Measure the weights of this step, once; one that a signal prevented is made when the run goes on."""
        if self.runner.val_loop is not None and self.evaluated != self._iter:
            done = self.runner.val_loop.run()
            self.runner.train_mode()
            if done is None:
                return
        self.evaluated = self._iter

    def go_on_from(self, step: int, evaluated: int) -> None:
        """Be where a checkpoint of `step` was; its weights may have been measured already."""
        self._iter, self._epoch, self.evaluated = step, step // self.per_epoch, evaluated


def mean(outputs: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The losses of a step's batches as one: a name's mean over the batches."""
    if len(outputs) == 1:
        return outputs[0]
    names = {name: None for output in outputs for name in output}
    return {n: torch.stack([output[n] for output in outputs if n in output]).sum() / len(outputs) for n in names}


class Stopped(Exception):
    """A signal came while something was measured."""


@LOOPS.register_module()
class EvalLoop(BaseLoop):
    """Predicts every picture and measures; `stages` does so for every stage of the head."""

    def __init__(self, runner: Any, dataloader: DataLoader, evaluator: Any, stages: bool = False, phase: str = 'val'):
        super().__init__(runner, dataloader)
        self.metrics, self.stages, self.phase = evaluator, stages, phase
        self.result: Evaluation | None = None

    def run(self) -> dict[str, float] | None:
        """The scores by name, or None where a signal came between; several processes share the batches."""
        self.runner.call_hook(f'before_{self.phase}')
        self.runner.call_hook(f'before_{self.phase}_epoch')
        self.runner.model.eval()
        dataset: Any = self.dataloader.dataset
        unseen = getattr(dataset, 'unseen', ())
        try:
            total = getattr(self.dataloader.batch_sampler, 'total', None)
            self.result = evaluate(self.runner.model, self._batches(), self.metrics, self.stages, unseen, total)
        except Stopped:
            self.result = None
        gather_again(self.runner.model)
        values = None if self.result is None else self.result.values
        self.runner.call_hook(f'after_{self.phase}_epoch', metrics=values)
        self.runner.call_hook(f'after_{self.phase}')
        return values

    def _batches(self) -> Iterator[Any]:
        for batch in self.dataloader:
            if self.runner.train_loop.stopped():
                raise Stopped
            yield batch
