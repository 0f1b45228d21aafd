"""Associative embedding: equal tags within an instance, other tags in others (Newell et al. 2017, arXiv:1611.05424)."""

from __future__ import annotations

__all__ = ['AssociativeEmbeddingLoss']

from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.core.setting_checks import check_not_negative
from poseplug.models.losses.base import expand_weight
from poseplug.registry import MODELS


@MODELS.register_module()
class AssociativeEmbeddingLoss(nn.Module):
    """Pull the tags of an instance to their mean, and push the means of two instances apart (section 3.2).

    Pull is the mean square of the tags about their mean, averaged over instances; push is exp(-d²) for two means at
    distance d, averaged over pairs of instances. Both are averaged over images. An image without instances has no loss,
    and a single instance has no push. MMPose sums over images, and counts every instance as one more pair with itself,
    a constant.

    Args:
        loss_weight: Factor on both.
        push_loss_factor: Factor on push alone.

    Raises:
        ConfigError: A factor is negative.
    """

    target_kind: ClassVar[str] = 'instance_numbers'

    def __init__(self, loss_weight: float = 1.0, push_loss_factor: float = 0.5):
        super().__init__()
        check_not_negative('AssociativeEmbeddingLoss', loss_weight=loss_weight, push_loss_factor=push_loss_factor)
        self.loss_weight, self.push_loss_factor = loss_weight, push_loss_factor

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, K, H, W), tags.
            target: (B, K, H, W), the number, from 1, of the instance whose keypoint is in a cell; 0 for none.
            weight: (B, K) or (B, K, H, W), 0 where cells do not count; None for 1.

        Returns:
            One number; 0 for an empty batch.
        """
        counts = target > 0
        if weight is not None:
            counts = counts & (expand_weight(weight, target) > 0)
        cells = counts.nonzero(as_tuple=True)
        pull, push = compute_pull_push(predicted[cells], target[cells].long() - 1, cells[0], len(predicted))
        return self.loss_weight * (pull + self.push_loss_factor * push) / max(len(predicted), 1)


def compute_pull_push(
    tags: Tensor, instance_indices: Tensor, image_indices: Tensor, num_images: int
) -> tuple[Tensor, Tensor]:
    """Compute pull and push from the tags of keypoints, each summed over images.

    Args:
        tags: (M,), tags of the keypoints.
        instance_indices: (M,), index of every keypoint's instance in its image, from 0. An index without keypoints is
            no instance.
        image_indices: (M,), index of every keypoint's image.
        num_images: Number of images.

    Returns:
        Pull and push, one number each.
    """
    max_instances = int(instance_indices.max()) + 1 if len(instance_indices) else 0
    size = num_images * max_instances
    # Every instance of every image has its own row.
    rows = image_indices * max_instances + instance_indices
    tags = tags.float()
    counts = _sum_by_index(torch.ones_like(tags), rows, size)
    means = _sum_by_index(tags, rows, size) / counts.clamp(min=1)
    squares = _sum_by_index((tags - means[rows]).square(), rows, size) / counts.clamp(min=1)
    means, squares, exists = (t.view(num_images, max_instances) for t in (means, squares, counts > 0))
    # (images, instances) from here on; max_instances is that of the image with the most.
    num_instances = exists.sum(dim=1).clamp(min=1)
    pull = squares.sum(dim=1) / num_instances
    similarities = torch.exp(-(means[:, :, None] - means[:, None]).square())
    is_other = ~torch.eye(max_instances, dtype=torch.bool, device=tags.device)
    # Both orders of every pair, hence n (n - 1) pairs below.
    pairs = exists[:, :, None] & exists[:, None] & is_other
    push = (similarities * pairs).sum(dim=(1, 2)) / (num_instances * (num_instances - 1)).clamp(min=1)
    return pull.sum(), push.sum()


def _sum_by_index(values: Tensor, indices: Tensor, size: int) -> Tensor:
    """(size,) sums of values (M,) by index."""
    return values.new_zeros(size).index_add(0, indices, values)
