"""Types for mmengine's untyped objects: the attributes of the runner that hooks and loops use, and configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mmengine.optim import OptimWrapper

    from poseplug.engine.eval_loop import EvalLoop
    from poseplug.engine.loops import TrainLoop
    from poseplug.engine.strategy import SingleProcessStrategy
    from poseplug.models.estimators.base import Estimator


class ConfigLike(Mapping[str, Any]):
    """A whole config, as `poseplug.load_config` returns it; only type checkers see this class.

    Attributes:
        filename: the path of the config file.
        pretty_text: the whole config, bases and options included, as Python.
    """

    filename: str | None
    pretty_text: str


class RunnerLike(Protocol):
    """The attributes and methods of `poseplug.engine.runner.Runner` that hooks and loops use.

    Attributes:
        iter, epoch: training steps and epochs so far.
        max_iters: steps of the whole run.
        rank, world_size: the index of this process, and the number of processes.
        work_dir: the folder of the run.
        accumulative_counts: batches of a step.
        hooks: mmengine's and ours, by priority.
    """

    iter: int
    epoch: int
    max_iters: int
    rank: int
    world_size: int
    work_dir: str
    accumulative_counts: int
    model: Estimator
    bare_model: Estimator
    strategy: SingleProcessStrategy
    optim_wrapper: OptimWrapper
    param_schedulers: Any
    seed: int | None
    hooks: list[Any]
    train_loop: TrainLoop
    val_loop: EvalLoop | None
    visualizer: Any
    frozen_norms: list[str]

    @property
    def config_text(self) -> str:
        """The whole config as Python."""
        ...

    @property
    def label_checksum(self) -> str | None:
        """The checksum of the labels that the run trains on, if its data set has records."""
        ...

    @property
    def is_resumed(self) -> bool:
        """Whether the run continues another one."""
        ...

    def call_hook(self, fn_name: str, **arguments: Any) -> None:
        """Call a method of every hook."""
        ...

    def set_train_mode(self) -> None:
        """Set the model to training mode, except frozen batch norms."""
        ...

    def collect_checkpoint(self) -> Mapping[str, Any]:
        """Return everything that a resumed run needs."""
        ...
