"""Residual log-likelihood estimation (Li et al. 2021, arXiv:2107.11291)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from poseplug.errors import ConfigError, MismatchError
from poseplug.models.losses.regression import weighted_mean
from poseplug.registry import MODELS

NARROWEST = 1e-4  # the smallest spread, as a share of the input


@MODELS.register_module()
class RLE(nn.Module):
    """The negative log-likelihood of the joint, under a distribution whose shape is learned beside the network.

    With the error in spreads, e = (wanted - predicted) / spread, it is the mean over joints of

        Σ over x, y of (ln(2 spread) + |e|)  -  ln G(e),

    a Laplace distribution, times a correction G that a flow learns (section 3.3 there; G is not scaled to a sum of 1).
    It may be negative. Spreads below `NARROWEST` count as that. Training needs the flow, prediction does not. The
    released code takes the logarithm of the spreads twice, and that of G once a coordinate.
    """

    def __init__(self, layers: int = 6, width: int = 64, factor: float = 1.0):
        super().__init__()
        self.flow, self.factor = RealNVP(layers, width), factor

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Two (B, K, 4; x, y and their spreads; the wanted spreads mean nothing) and weights (B, K) to one number."""
        if predicted.ndim != 3 or predicted.shape[-1] != 4:
            raise MismatchError(
                f'RLE reads joints as 4 numbers, x, y and their spreads; this field has shape '
                f'{tuple(predicted.shape[1:])}; set model.codec.type to RLERegression, or take another loss'
            )
        with torch.autocast(predicted.device.type, enabled=False):
            points, spreads = predicted.float().split(2, dim=-1)
            spreads = spreads.clamp(min=NARROWEST)
            errors = (wanted.float()[..., :2] - points) / spreads
            terms = ((2 * spreads).log() + errors.abs()).sum(dim=-1) - self.flow(errors)
            return self.factor * weighted_mean(terms, weight)


class RealNVP(nn.Module):
    """The logarithm of a learned density of points in the plane (Dinh et al. 2017, arXiv:1605.08803).

    Each layer scales and moves one coordinate by what two small networks make of the other, in turns; what comes out
    is normally distributed. It starts as the identity: the last layers of the networks start at 0.
    """

    def __init__(self, layers: int = 6, width: int = 64):
        super().__init__()
        if layers < 2 or layers % 2:
            raise ConfigError(f'RLE: layers come in pairs, one for x and one for y; got layers={layers}')
        self.scales = nn.ModuleList(small_network(width) for _ in range(layers))
        self.moves = nn.ModuleList(small_network(width) for _ in range(layers))

    def forward(self, points: Tensor) -> Tensor:
        """Points (..., 2) to the logarithms of their densities (...)."""
        sides = list(points.split(1, dim=-1))
        grown = torch.zeros_like(points[..., 0])
        for i, (scale, move) in enumerate(zip(self.scales, self.moves, strict=True)):
            seen, turned = sides[i % 2], 1 - i % 2
            size = scale(seen).tanh()
            sides[turned] = (sides[turned] - move(seen)) * torch.exp(-size)
            grown = grown - size[..., 0]
        normal = -0.5 * torch.cat(sides, dim=-1).square().sum(dim=-1) - math.log(2 * math.pi)
        return normal + grown


def small_network(width: int) -> nn.Sequential:
    """One number to one number, by two hidden layers."""
    last = nn.Linear(width, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(1, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), last)
