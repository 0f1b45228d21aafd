"""Computes the steps of a run in one process; `distributed_strategies` does so in several.

`poseplug.engine.training_step.train_step` calls a strategy for everything that a training step does, in this order:

    for batch in the batches of the step:
        losses = strategy.losses(batch)      # network and criterion, in mixed precision where the config asks for it
        strategy.backward(sum of the losses)
    strategy.step()                          # check that they are finite, clip the gradients, update the weights

`EvalLoop` and `launch.test` predict by a strategy, too, so that a compiled network is used there as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.engine.compiling import CompileSpec, compile_network, describe_compile_error
from poseplug.engine.distributed import all_reduce_any, broadcast_norm_statistics
from poseplug.engine.sharding import (
    to_local_tensor,
)
from poseplug.engine.training_precision import TrainingPrecision, measure_gradients
from poseplug.models.estimators.base import Estimator

_LOGGER = logging.getLogger('poseplug')


class SingleProcessStrategy:
    """One process trains the model.

    Args:
        model: the estimator, on its device.
        compile_spec: whether and how its network is compiled (`poseplug.engine.compiling.compile_network`).

    Attributes:
        drops_invalid_steps: whether steps with a loss or a gradient that is not finite leave the weights as they are.
        step_dropped: whether the last step was such a step.
        precision: in which the network computes in training.
    """

    def __init__(self, model: Estimator, compile_spec: CompileSpec = None):
        self.model, self.compile_spec = model, compile_spec
        self.drops_invalid_steps = self.step_dropped = False
        self.optim_wrapper: OptimWrapper | None = None
        self._are_losses_finite: list[Tensor] = []  # one of each batch of the step
        self._runs_uncompiled = False
        self.precision = TrainingPrecision()

    # --- preparation --------------------------------------------------------------------------------------------------

    def prepare_model(self) -> None:
        """Convert the model for this strategy. It is called before the optimizer is built."""

    def prepare_training(self, optim_wrapper: OptimWrapper) -> None:
        """Prepare the steps. It is called once, when the weights are loaded.

        Args:
            optim_wrapper: holds the optimizer, and the settings of accumulation, clipping and mixed precision.
        """
        self.optim_wrapper = optim_wrapper
        self.compile_network()
        # The hook runs after clipping and after the loss scale of float16 is removed, and only if the scaler takes the
        # step: gradients that overflow by the scale alone are dropped by the scaler and are no error.
        optim_wrapper.optimizer.register_step_pre_hook(self._drop_invalid_gradients)

    def compile_network(self) -> None:
        """Compile the network if the config asks for it.

        Raises:
            ConfigError: torch does not know the settings.
        """
        compile_network(self.model, self.compile_spec)

    # --- a training step ----------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch.

        Args:
            batch: on any device.

        Returns:
            Scalars by name.
        """
        assert self.optim_wrapper is not None
        # The context is that of mixed precision. In DDP it also prevents that gradients are averaged before the last
        # batch of the step.
        with self.optim_wrapper.optim_context(self._loss_module()), self.precision.create_context():
            losses: dict[str, Tensor] = self._call_compiled(self._compute_losses, batch)
        return losses

    def choose_precision(self, batch: Batch) -> None:
        """Measure the precisions that the setting leaves open, and choose one. Weights and random numbers stay.

        Args:
            batch: of the first step.
        """
        if self.precision.is_open:
            self.precision.choose_precision(lambda: measure_gradients(self.model, lambda: self.losses(batch)))

    def _loss_module(self) -> nn.Module:
        """The module whose gradients are averaged over the processes."""
        return self.model

    def _compute_losses(self, batch: Batch) -> dict[str, Tensor]:
        return self.model.losses(batch)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a batch.

        Args:
            loss: the sum of the batch's losses. Of a step of several batches the mean is minimized.

        Raises:
            ConfigError: the gradient of a compiled network does not compile.
        """
        assert self.optim_wrapper is not None
        # divided by the number of batches of a step, so that the accumulated gradients are those of their mean
        loss = self.optim_wrapper.scale_loss(loss)
        # it stays on the device: reading it here would make every batch wait for the GPU
        self._are_losses_finite.append(torch.isfinite(loss.detach()))
        try:
            self.optim_wrapper.backward(loss)
        except torch._dynamo.exc.TorchDynamoException as error:
            # The gradient is compiled when it is first needed, which is too late to compute the losses again.
            raise ConfigError(
                f"the network's gradient does not compile ({describe_compile_error(error)}); set compile=False"
            ) from error

    def step(self) -> None:
        """Update the weights by the gradients, and clear these."""
        assert self.optim_wrapper is not None
        self.step_dropped = False
        self.optim_wrapper.step()
        self.optim_wrapper.zero_grad()
        self._are_losses_finite = []
        # each process has normalized other samples; predictions and checkpoints use the statistics of the first
        broadcast_norm_statistics(self.model)

    def _drop_invalid_gradients(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        """Drop all gradients of a step that is not finite in some process: optimizers skip parameters without one."""
        if not self.drops_invalid_steps:
            return
        parameters: list[nn.Parameter] = [p for group in optimizer.param_groups for p in group['params']]
        # Gradients are checked by one number, their total norm. It is not finite if any value is not.
        gradients = [to_local_tensor(p.grad) for p in parameters if p.grad is not None]
        is_loss_invalid = bool(self._are_losses_finite) and not torch.stack(self._are_losses_finite).all()
        is_gradient_invalid = bool(gradients) and not torch.isfinite(get_total_norm(gradients))
        # All processes have to drop the step together, since their weights would differ from then on.
        self.step_dropped = all_reduce_any(is_loss_invalid or is_gradient_invalid)
        if self.step_dropped:
            for parameter in parameters:
                parameter.grad = None

    # --- prediction ---------------------------------------------------------------------------------------------------

    def predict(self, batch: Batch) -> list[Poses]:
        """Predict as `Estimator.predict`."""
        poses: list[Poses] = self._call_compiled(self.model.predict, batch)
        return poses

    def predict_stages(self, batch: Batch) -> list[list[Poses]]:
        """Predict as `Estimator.predict_stages`."""
        stages: list[list[Poses]] = self._call_compiled(self.model.predict_stages, batch)
        return stages

    def finish_prediction(self) -> None:
        """Free the memory that predictions still use."""

    def _call_compiled(self, function: Callable[[Batch], Any], batch: Batch) -> Any:
        """Call a function that runs the network; from the first compile error on, the network runs uncompiled."""
        if not self.compile_spec:
            return function(batch)
        if not self._runs_uncompiled:
            try:
                return function(batch)
            except torch._dynamo.exc.TorchDynamoException as error:
                self._runs_uncompiled = True
                message = 'the network does not compile and runs uncompiled (%s); set compile=False, or another backend'
                _LOGGER.warning(message, describe_compile_error(error))
        # the network stays compiled in name; under this stance torch runs its Python code instead
        with torch.compiler.set_stance('force_eager'):
            return function(batch)

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def gather_state(self, content: Any) -> Any:
        """Return the content of a checkpoint with whole tensors. All processes must call this."""
        return content

    def distribute_weights(self, state_dict: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
        """Return whole weights as the model holds them.

        Args:
            state_dict: tensors by name.
            prefix: the text before the model's names in `state_dict`.
        """
        return dict(state_dict)

    def distribute_optimizer_state(
        self, state_dict: Mapping[str, Any], optimizer: torch.optim.Optimizer
    ) -> dict[str, Any]:
        """Return the whole state of an optimizer as the optimizer holds it."""
        return dict(state_dict)

    def copy_source(self) -> nn.Module:
        """Return the module whose `copy.deepcopy` is a copy of the model, for averaged weights."""
        return self.model
