"""One update of the weights: the gradients of some batches, then the step of the run's strategy."""

from __future__ import annotations

__all__ = ['average_losses', 'train_step']

from collections.abc import Sequence

import torch
from torch import Tensor

from poseplug.core.batch import Batch
from poseplug.engine.strategy import SingleProcessStrategy


def train_step(strategy: SingleProcessStrategy, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Update the weights once.

    Args:
        strategy: prepared for training; its optimizer wrapper accumulates as many batches as there are.
        batches: the batches of the step.

    Returns:
        The mean losses by name and their sum as 'loss', without gradients.
    """
    outputs = [_compute_gradients(strategy, batch) for batch in batches]
    strategy.step()
    return average_losses(outputs)


def _compute_gradients(strategy: SingleProcessStrategy, batch: Batch) -> dict[str, Tensor]:
    """Add the gradients of a batch to those of the step; returns the losses by name and their sum as 'loss'."""
    losses = strategy.losses(batch)
    total = torch.stack(list(losses.values())).sum()
    # each batch frees its graph before the next one is computed, so that accumulation costs no memory
    strategy.backward(total)
    return {'loss': total.detach(), **{name: value.detach() for name, value in losses.items()}}


def average_losses(outputs: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average the losses of a step's batches.

    Args:
        outputs: the losses of every batch by name, scalars.

    Returns:
        The mean of every loss over all batches; a batch without a loss of that name counts as 0.
    """
    if len(outputs) == 1:
        return outputs[0]
    names = {name: None for output in outputs for name in output}  # a dict keeps the order
    return {n: torch.stack([output[n] for output in outputs if n in output]).sum() / len(outputs) for n in names}
