"""Distances between predicted and target numbers, such as keypoints as fractions of the input."""

from __future__ import annotations

__all__ = ['L1Loss', 'SmoothL1Loss', 'WingLoss']

from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.setting_checks import check_not_negative, check_positive
from poseplug.models.losses.base import weighted_mean
from poseplug.registry import MODELS


@MODELS.register_module()
class L1Loss(nn.Module):
    """The mean of absolute differences.

    Args:
        loss_weight: Factor on the loss.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('L1Loss', loss_weight=loss_weight)
        self.loss_weight = loss_weight

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, C, ...).
            target: (B, C, ...).
            weight: (B, C) or (B, C, ...); None for 1.

        Returns:
            One number; 0 for an empty batch.
        """
        return self.loss_weight * weighted_mean((predicted.float() - target.float()).abs(), weight)


@MODELS.register_module()
class SmoothL1Loss(nn.Module):
    """The mean of absolute differences, which are squared below a threshold (Girshick 2015, arXiv:1504.08083).

    A difference d costs d² / (2 beta) below `beta`, and d - beta / 2 above.

    Args:
        beta: The threshold, in the unit of the field.
        loss_weight: Factor on the loss.

    Raises:
        ConfigError: `beta` is not positive.
    """

    def __init__(self, beta: float = 1.0, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('SmoothL1Loss', loss_weight=loss_weight)
        check_positive('SmoothL1Loss', beta=beta)
        self.beta, self.loss_weight = beta, loss_weight

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, C, ...).
            target: (B, C, ...).
            weight: (B, C) or (B, C, ...); None for 1.

        Returns:
            One number; 0 for an empty batch.
        """
        # Torch's `beta` is this one; its `huber_loss` would be `beta` times as large.
        terms = F.smooth_l1_loss(predicted.float(), target.float(), reduction='none', beta=self.beta)
        return self.loss_weight * weighted_mean(terms, weight)


@MODELS.register_module()
class WingLoss(nn.Module):
    """A loss that weights small differences more (Feng et al. 2018, arXiv:1711.06753, eq. 5).

    A difference d costs omega ln(1 + d / epsilon) below `omega`, and above it d plus the constant that joins both
    parts. Both settings are in the unit of the field: the paper's 10 and 2 are pixels.

    Args:
        omega: Difference from which on the loss is linear.
        epsilon: Curvature of the logarithm: the smaller, the more small differences weigh.
        loss_weight: Factor on the loss.

    Raises:
        ConfigError: `omega` or `epsilon` is not positive.
    """

    def __init__(self, omega: float = 10.0, epsilon: float = 2.0, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('WingLoss', loss_weight=loss_weight)
        check_positive('WingLoss', omega=omega, epsilon=epsilon)
        self.omega, self.epsilon, self.loss_weight = omega, epsilon, loss_weight

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, C, ...).
            target: (B, C, ...).
            weight: (B, C) or (B, C, ...); None for 1.

        Returns:
            One number; 0 for an empty batch.
        """
        distance = (predicted.float() - target.float()).abs()
        # Beyond omega the logarithm is constant, which joins both parts.
        near = self.omega * (distance.clamp(max=self.omega) / self.epsilon).log1p()
        far = (distance - self.omega).clamp(min=0)
        return self.loss_weight * weighted_mean(near + far, weight)
