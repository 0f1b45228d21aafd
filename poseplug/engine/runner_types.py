"""The types of what mmengine leaves untyped: what hooks and loops use of the runner, and configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mmengine.optim import OptimWrapper

    from poseplug.engine.loops import EvalLoop, TrainLoop
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
    """What hooks and loops use of `poseplug.engine.runner.Runner`.

    Attributes:
        iter, epoch: training steps and epochs so far.
        max_iters: steps of the whole run.
        rank, world_size: the number of this process, and of all.
        work_dir: the folder of the run.
        accumulative_counts: batches of a step.
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
    train_loop: TrainLoop
    val_loop: EvalLoop | None

    @property
    def is_resumed(self) -> bool:
        """Whether the run continues another one."""
        ...

    def call_hook(self, fn_name: str, **arguments: Any) -> None:
        """Call a method of every hook."""
        ...

    def set_train_mode(self) -> None:
        """Put the model into training mode, frozen batch norms aside."""
        ...

    def collect_checkpoint(self) -> Mapping[str, Any]:
        """Return everything that a resumed run needs."""
        ...
