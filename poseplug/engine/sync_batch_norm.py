"""Batch norm over the samples of all processes, so that it sees the batch that one process would see."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _AllReduceSum(torch.autograd.Function):
    """The sum of a tensor over all processes; the gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, local_value: Tensor) -> Tensor:
        total = local_value.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return _AllReduceSum.forward(context, gradients[0])


class CPUSyncBatchNorm(nn.BatchNorm2d):
    """On the CPU, where torch's SyncBatchNorm does not run; the processes' batches are equally large."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same, in training by the mean and variance over the batches of all processes."""
        if not self.training:
            return super().forward(x)
        count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        mean = _AllReduceSum.apply(x.float().sum((0, 2, 3))) / count
        centred = x.float() - mean[:, None, None]
        variance = _AllReduceSum.apply(centred.square().sum((0, 2, 3))) / count
        self._update_running_statistics(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        found = centred * scale[:, None, None]
        return (found + self.bias[:, None, None] if self.affine else found).to(x.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as torch does: by `momentum`, or as the mean of all batches where it is None."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def convert_to_sync_batch_norm(model: nn.Module) -> nn.Module:
    """Let the batch norms of a model see the batches of all processes; their names and numbers stay."""
    if next(model.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = CPUSyncBatchNorm
    return model
