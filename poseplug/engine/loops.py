"""Training and evaluation loops on mmengine's runner: a step is a number, and a run goes on exactly at its step."""

from __future__ import annotations

from typing import Any

from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

from poseplug.datasets.samplers import EpochBatches
from poseplug.engine.evaluate import Evaluation, evaluate
from poseplug.errors import ConfigError
from poseplug.registry import LOOPS


@LOOPS.register_module()
class TrainLoop(BaseLoop):
    """Steps over shuffled batches; give `steps` or `epochs`, and `val_interval` in the same unit (0: only at the end).

    A resumed run starts at its step and reads nothing of what came before.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader,
        steps: int | None = None,
        epochs: int | None = None,
        val_interval: int = 0,
    ):
        super().__init__(runner, dataloader)
        if (steps is None) == (epochs is None):
            raise ConfigError(f'train_cfg needs either steps or epochs; got steps={steps}, epochs={epochs}')
        self.batches: EpochBatches = dataloader.batch_sampler
        self.per_epoch = len(self.batches)
        self.unit = 1 if epochs is None else self.per_epoch
        self._max_iters = steps if epochs is None else epochs * self.per_epoch
        self._max_epochs = -(-self._max_iters // self.per_epoch)
        self._iter, self._epoch = 0, 0
        self.val_interval, self.val_begin = val_interval * self.unit, 1
        self.stop_training = False

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
        runner.model.train()
        self.batches.start = self._iter
        loader = iter(self.dataloader) if self._iter < self._max_iters else iter(())
        while self._iter < self._max_iters and not self.stop_training:
            self.step(next(loader))
        if runner.val_loop is not None and not (self.val_interval and self._iter % self.val_interval == 0):
            runner.val_loop.run()
        runner.call_hook('after_train')
        return runner.model

    def step(self, batch: Any) -> None:
        """One optimiser step, and what follows from it: the epoch's end and the evaluation that is due."""
        runner = self.runner
        runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=batch)
        outputs = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
        runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=batch, outputs=outputs)
        self._iter += 1
        if self._iter % self.per_epoch == 0:
            runner.call_hook('after_train_epoch')
            self._epoch += 1
            runner.call_hook('before_train_epoch')
        if self.val_interval and self._iter % self.val_interval == 0 and runner.val_loop is not None:
            runner.val_loop.run()
            runner.model.train()


@LOOPS.register_module()
class EvalLoop(BaseLoop):
    """Predicts every picture and measures; `stages` does so for every stage of the head."""

    def __init__(self, runner: Any, dataloader: DataLoader, evaluator: Any, stages: bool = False, phase: str = 'val'):
        super().__init__(runner, dataloader)
        self.metrics, self.stages, self.phase = evaluator, stages, phase
        self.result: Evaluation | None = None

    def run(self) -> dict[str, float]:
        self.runner.call_hook(f'before_{self.phase}')
        self.runner.call_hook(f'before_{self.phase}_epoch')
        self.runner.model.eval()
        self.result = evaluate(self.runner.model, self.dataloader, self.metrics, self.stages)
        self.runner.call_hook(f'after_{self.phase}_epoch', metrics=self.result.values)
        self.runner.call_hook(f'after_{self.phase}')
        return self.result.values
