"""Residual log-likelihood estimation (Li et al. 2021, arXiv:2107.11291)."""

from __future__ import annotations

__all__ = ['RLELoss']

import math

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.setting_checks import check_counts, check_not_negative
from poseplug.models.losses.base import weighted_mean
from poseplug.registry import MODELS

MIN_RELATIVE_SIGMA = 1e-4  # smallest sigma, as a fraction of the input; smaller ones count as this one


@MODELS.register_module()
class RLELoss(nn.Module):
    """The negative log-likelihood of the keypoint, under a distribution whose shape is learned with the network.

    With the error in sigmas, e = (target - predicted) / sigma, it is the mean over keypoints of

        Σ over x, y of (ln(2 sigma) + |e|)  -  ln G(e),

    a Laplace distribution, times a correction G that a flow learns (section 3.3 there; G is not scaled to a sum of 1).
    It may be negative. Training needs the flow, prediction does not. The released code takes the logarithm of the
    sigmas twice, and that of G once per coordinate.

    Args:
        num_layers: Number of the flow's layers, an even number.
        hidden_channels: Width of the flow's small networks.
        loss_weight: Factor on the loss.

    Raises:
        ConfigError: `num_layers` is odd or less than 2.
    """

    def __init__(self, num_layers: int = 6, hidden_channels: int = 64, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('RLELoss', loss_weight=loss_weight)
        self.flow, self.loss_weight = RealNVP(num_layers, hidden_channels), loss_weight

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, K, 4), x, y and the sigmas of both.
            target: (B, K, 4), x, y and two numbers that are ignored.
            weight: (B, K); None for 1.

        Returns:
            One number.

        Raises:
            MismatchError: The field has not 4 values per keypoint.
        """
        if predicted.ndim != 3 or predicted.shape[-1] != 4:
            raise MismatchError(
                f'RLELoss reads 4 values per keypoint, x, y and their sigmas; this field has shape '
                f'{tuple(predicted.shape[1:])}; set model.codec.type to RLERegression, or use another loss'
            )
        # Logarithms and exponentials in single precision, whatever the network computes in.
        with torch.autocast(predicted.device.type, enabled=False):
            # x and y, then their sigmas.
            points, sigmas = predicted.float().split(2, dim=-1)
            sigmas = sigmas.clamp(min=MIN_RELATIVE_SIGMA)
            errors = (target.float()[..., :2] - points) / sigmas
            terms = ((2 * sigmas).log() + errors.abs()).sum(dim=-1) - self.flow(errors)
            return self.loss_weight * weighted_mean(terms, weight)


class RealNVP(nn.Module):
    """The logarithm of a learned density of points in the plane (Dinh et al. 2017, arXiv:1605.08803).

    Each layer scales and shifts one coordinate by what two small networks compute from the other, in turns; the result
    is normally distributed. It starts as the identity: the last layers of the networks start at 0.

    Args:
        num_layers: Number of layers, an even number.
        hidden_channels: Width of the small networks.

    Raises:
        ConfigError: `num_layers` is odd or less than 2.
    """

    def __init__(self, num_layers: int = 6, hidden_channels: int = 64):
        super().__init__()
        check_counts('RLELoss', num_layers=num_layers, hidden_channels=hidden_channels)
        if num_layers % 2:
            raise ConfigError(f'RLELoss: layers come in pairs, one for x and one for y; got {num_layers=}')
        self.scales = nn.ModuleList(_build_coupling_mlp(hidden_channels) for _ in range(num_layers))
        self.moves = nn.ModuleList(_build_coupling_mlp(hidden_channels) for _ in range(num_layers))

    def forward(self, points: Tensor) -> Tensor:
        """Return the logarithms (...) of the densities of points (..., 2)."""
        coordinates = list(points.split(1, dim=-1))
        log_determinant = torch.zeros_like(points[..., 0])
        for i, (scale, shift) in enumerate(zip(self.scales, self.moves, strict=True)):
            # x shifts y, then y shifts x, in turns.
            condition, changed = coordinates[i % 2], 1 - i % 2
            log_scale = scale(condition).tanh()
            coordinates[changed] = (coordinates[changed] - shift(condition)) * torch.exp(-log_scale)
            log_determinant = log_determinant - log_scale[..., 0]
        normal = -0.5 * torch.cat(coordinates, dim=-1).square().sum(dim=-1) - math.log(2 * math.pi)
        return normal + log_determinant


def _build_coupling_mlp(hidden_channels: int) -> nn.Sequential:
    """A network from one number to one number, with two hidden layers."""
    last = nn.Linear(hidden_channels, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(1, hidden_channels), nn.LeakyReLU(), nn.Linear(hidden_channels, hidden_channels), nn.LeakyReLU(), last
    )
