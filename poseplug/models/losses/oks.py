"""Dissimilarity of predicted and annotated keypoints, as COCO's metric measures it."""

from __future__ import annotations

__all__ = ['OKSLoss']

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_not_negative, check_positive_lists
from poseplug.models.losses.base import weighted_sum
from poseplug.registry import MODELS


@MODELS.register_module()
class OKSLoss(nn.Module):
    """1 minus the similarity exp(-d² / (2 (2 sigma)²)) of each keypoint, over K (Maji et al. 2022, arXiv:2204.06806).

    Summed over instances, and meant to be divided by their number. An instance counts by the fraction of its keypoints
    that have a weight.

    Args:
        sigmas: OKS sigma of every keypoint; provided by the skeleton.
        loss_weight: Factor on the loss.

    Raises:
        ConfigError: The skeleton has no sigmas.
    """

    needs = ('sigmas',)
    sigmas: Tensor

    def __init__(self, sigmas: Sequence[float] | None, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('OKSLoss', loss_weight=loss_weight)
        if sigmas is None:
            raise ConfigError('OKSLoss needs the sigmas of the keypoints, which the skeleton lacks; add sigmas to it')
        check_positive_lists('OKSLoss', sigmas=sigmas)
        self.loss_weight = loss_weight
        self.register_buffer('sigmas', torch.tensor(tuple(sigmas), dtype=torch.float32), persistent=False)

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (N, K, 2), as a fraction of the instance size (root of the area).
            target: (N, K, 2), the same.
            weight: (N, K); None for 1.

        Returns:
            One number.
        """
        squared_distances = (predicted.float() - target.float()).square().sum(dim=-1)
        similarities = (squared_distances / (-8 * self.sigmas**2)).exp()  # 2 (2 sigma)² = 8 sigma²
        return self.loss_weight * weighted_sum(1 - similarities, weight) / len(self.sigmas)
