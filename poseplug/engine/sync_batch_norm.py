"""Batch norm over the samples of all processes, which then normalize as one process with the whole batch.

On GPUs that is torch's `nn.SyncBatchNorm`, which does not run on the CPU. `CPUSyncBatchNorm` computes the same there,
so that machines without a GPU can test that several processes train as one does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _AllReduceSum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(context: Any, local_value: Tensor) -> Tensor:
        total = local_value.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return _AllReduceSum.forward(context, gradients[0])


class CPUSyncBatchNorm(nn.BatchNorm2d):
    """Normalizes by the mean and variance over the batches of all processes, which must be equally large.

    Parameters and statistics are those of `nn.BatchNorm2d`.
    """

    @classmethod
    def from_batch_norm(cls, norm: nn.BatchNorm2d) -> CPUSyncBatchNorm:
        """Return a module that shares the parameters and statistics of a batch norm."""
        sync_norm = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        sync_norm.weight, sync_norm.bias = norm.weight, norm.bias
        sync_norm.running_mean, sync_norm.running_var = norm.running_mean, norm.running_var
        sync_norm.num_batches_tracked = norm.num_batches_tracked
        return sync_norm.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize features (B, C, H, W); in evaluation mode as `nn.BatchNorm2d`."""
        if not self.training:
            return super().forward(x)
        # N * H * W of all processes
        count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        # sums in float32 under autocast, too, as in torch's batch norm
        mean = _AllReduceSum.apply(x.float().sum((0, 2, 3))) / count
        # two passes: the mean of squares minus the squared mean loses the variance of large values to rounding
        centered = x.float() - mean[:, None, None]
        variance = _AllReduceSum.apply(centered.square().sum((0, 2, 3))) / count
        # running_var is the unbiased estimate, the normalization uses the biased one, as in torch
        self._update_running_statistics(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        normalized = centered * scale[:, None, None]
        if self.affine:
            normalized = normalized + self.bias[:, None, None]
        return normalized.to(x.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics as torch does: by `momentum`, or to the mean of all batches if it is None."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        fraction = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, fraction)
        self.running_var.lerp_(variance, fraction)


def convert_to_sync_batch_norm(model: nn.Module) -> None:
    """Replace the batch norms in a model by modules that normalize by the batches of all processes.

    The new modules share the tensors of the old ones, under the same names.

    Args:
        model: is changed in place; it must not be a batch norm itself.
    """
    if next(model.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            # exactly: a subclass, such as a converted one, has its own rule
            if type(child) is nn.BatchNorm2d:
                parent.add_module(name, CPUSyncBatchNorm.from_batch_norm(child))
