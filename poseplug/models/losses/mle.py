"""Losses of the distributions that RTMO's classifier predicts (Lu et al. 2023, arXiv:2312.07526, section 3.3)."""

from __future__ import annotations

__all__ = ['BinDivergence', 'MLECCLoss']

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_not_negative, check_positive
from poseplug.models.layers.dcc import KeypointDistributions
from poseplug.models.losses.base import weighted_sum
from poseplug.registry import MODELS

# The value of the released code.
MIN_LIKELIHOOD = 1e-4  # added to the likelihood before its logarithm, which bounds the loss of an outlier


@MODELS.register_module()
class MLECCLoss(nn.Module):
    """Negative log-likelihood of the labels under Laplace distributions around all bins, mixed by their probabilities.

    A label at g has the likelihood exp(-|b - g| / (2 s size)) / s under a bin at b px, with the instance size (root of
    the area) in px and the relative sigma s that the network predicts. Keypoints whose labels scatter may thus have
    wide distributions, and bins may have any width, also a different one for every instance.

    The mean over the keypoints of an instance, labeled or not, and the sum over instances, which is meant to be divided
    by their number.

    Args:
        loss_weight: Factor on the loss.
        min_relative_sigma: Smaller relative sigmas count as this one. Once the network predicts small ones, a keypoint
            that is off by many of them is hardly more likely one bin nearer, and learns no more: 0.03 is better for
            learning a few images by heart.
        shape: 'laplace' as above, or 'gaussian': exp(-(b - g)² / (2 (s size)²)) / s.
        fixed_relative_sigma: A relative sigma for all keypoints instead of the predicted ones, which then learn
            nothing; the paper predicts them.

    Raises:
        ConfigError: A relative sigma is not positive, or there is no such shape.
    """

    target_kind: ClassVar[str] = 'distributions'

    def __init__(
        self,
        loss_weight: float = 1.0,
        min_relative_sigma: float = 1e-3,
        shape: Literal['laplace', 'gaussian'] = 'laplace',
        fixed_relative_sigma: float | None = None,
    ):
        super().__init__()
        if shape not in _DENSITIES:
            raise ConfigError(f'MLECCLoss: shape is one of {", ".join(_DENSITIES)}; got {shape!r}')
        if fixed_relative_sigma is not None:
            check_positive('MLECCLoss', fixed_relative_sigma=fixed_relative_sigma)
        self.shape, self.fixed_relative_sigma = shape, fixed_relative_sigma
        check_not_negative('MLECCLoss', loss_weight=loss_weight)
        check_positive('MLECCLoss', min_relative_sigma=min_relative_sigma)
        self.loss_weight, self.min_relative_sigma = loss_weight, min_relative_sigma

    def forward(
        self, predicted: KeypointDistributions, target: Tensor, sizes: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Compute the loss.

        Args:
            predicted: Distributions of N instances.
            target: (N, K, 2), labeled keypoints in px.
            sizes: (N,), instance sizes in px.
            weight: (N, K); None for 1.

        Returns:
            One number.
        """
        relative_sigmas = predicted.relative_sigmas.float().clamp(min=self.min_relative_sigma)
        if self.fixed_relative_sigma is not None:
            relative_sigmas = torch.full_like(relative_sigmas, self.fixed_relative_sigma)
        # An instance of no size counts as one of 1 px, so that the loss stays finite.
        scale = relative_sigmas * sizes.float().clamp(min=1)[:, None]
        likelihoods = []
        for axis, (probs, positions) in enumerate(_split_axes(predicted)):
            density = _DENSITIES[self.shape](positions, target[..., axis], scale)
            # Divided by sigma alone, not by the size in px: MIN_LIKELIHOOD belongs to likelihoods of this scale.
            likelihoods.append((probs.float() * density).sum(dim=-1) / relative_sigmas)
        # x and y are independent, so that their likelihoods multiply; the bound is one for both.
        terms = -(likelihoods[0] * likelihoods[1] + MIN_LIKELIHOOD).log()
        return self.loss_weight * weighted_sum(terms, weight) / max(terms.shape[1], 1)


@MODELS.register_module()
class BinDivergence(nn.Module):
    """Kullback-Leibler divergence of a distribution over bins from a fixed shape, the paper's baseline of `MLECCLoss`.

    The target is a normal or a Laplace distribution around the label, scaled to a sum of 1. The mean over keypoints and
    axes, and the sum over instances, which is meant to be divided by their number.

    Args:
        relative_sigma: Width of the target, as a fraction of the instance size (root of the area): the standard
            deviation, or half the scale of a Laplace distribution.
        loss_weight: Factor on the loss.
        shape: 'gaussian' (the paper), or 'laplace', the shape of `MLECCLoss`.

    Raises:
        ConfigError: `relative_sigma` is not positive, or there is no such shape.
    """

    target_kind: ClassVar[str] = 'distributions'

    def __init__(
        self,
        relative_sigma: float = 0.05,
        loss_weight: float = 1.0,
        shape: Literal['gaussian', 'laplace'] = 'gaussian',
    ):
        super().__init__()
        if shape not in _DENSITIES:
            raise ConfigError(f'BinDivergence: shape is one of {", ".join(_DENSITIES)}; got {shape!r}')
        check_not_negative('BinDivergence', loss_weight=loss_weight)
        check_positive('BinDivergence', relative_sigma=relative_sigma)
        self.relative_sigma, self.loss_weight, self.shape = relative_sigma, loss_weight, shape

    def forward(
        self, predicted: KeypointDistributions, target: Tensor, sizes: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Compute the loss.

        Args:
            predicted: Distributions of N instances.
            target: (N, K, 2), labeled keypoints in px.
            sizes: (N,), instance sizes in px.
            weight: (N, K); None for 1.

        Returns:
            One number.
        """
        scale = (self.relative_sigma * sizes.float().clamp(min=1))[:, None].expand(target.shape[:2])
        compute_density = _DENSITIES[self.shape]
        terms = sum(
            _kl_divergence(probs, compute_density(positions, target[..., axis], scale))
            for axis, (probs, positions) in enumerate(_split_axes(predicted))
        )
        # Over 2 K: both axes of every keypoint.
        return self.loss_weight * weighted_sum(torch.as_tensor(terms), weight) / max(2 * target.shape[1], 1)


def laplace_density(positions: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """Compute the unnormalized Laplace density exp(-|b - g| / (2 scale)) of bins at b around labels at g.

    Args:
        positions: (N, bins), positions of the bins in px.
        labels: (N, K), labels in px.
        scale: (N, K), in px.

    Returns:
        (N, K, bins).
    """
    return ((positions.float()[:, None] - labels.float()[..., None]).abs() / (-2 * scale[..., None])).exp()


def gaussian_density(positions: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """Compute the unnormalized normal density exp(-(b - g)^2 / (2 scale^2)) of bins at b around labels at g.

    Args:
        positions: (N, bins), positions of the bins in px.
        labels: (N, K), labels in px.
        scale: (N, K), standard deviation in px.

    Returns:
        (N, K, bins).
    """
    distances = (positions.float()[:, None] - labels.float()[..., None]) / scale[..., None]
    return (distances.square() / -2).exp()


_DENSITIES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    'gaussian': gaussian_density,
    'laplace': laplace_density,
}


def _split_axes(distributions: KeypointDistributions) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Probabilities (N, K, bins) and positions (N, bins) in x, and the same in y."""
    return (
        (distributions.x_probs, distributions.x_positions),
        (distributions.y_probs, distributions.y_positions),
    )


def _kl_divergence(probs: Tensor, target: Tensor) -> Tensor:
    """(N, K) divergences of `probs` (N, K, bins) from `target` (N, K, bins), which is scaled to a sum of 1 first."""
    labels = target / target.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return (torch.xlogy(labels, labels) - labels * probs.float().clamp(min=1e-12).log()).sum(dim=-1)
