"""Losses of the distributions that RTMO's classifier predicts (Lu et al. 2023, arXiv:2312.07526, section 3.3)."""

from __future__ import annotations

__all__ = ['BinDivergence', 'MLECCLoss']

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_not_negative, check_number, check_positive
from poseplug.models.layers.dcc import KeypointDistributions
from poseplug.models.losses.base import weighted_sum
from poseplug.registry import MODELS

# The value of the released code.
MIN_LIKELIHOOD = 1e-4  # added to the likelihood before its logarithm, which bounds the loss of an outlier
_TINY = torch.finfo(torch.float32).tiny  # what keeps logarithms and quotients of float32 finite


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
        min_likelihood: What is added to the product of both axes' likelihoods before its logarithm, as in the released
            code. With 0 the loss is the paper's text, the sum of one logarithm per axis, and has no bound.

    Raises:
        ConfigError: A relative sigma is not positive, `min_likelihood` is negative, or there is no such shape.
    """

    target_kind: ClassVar[str] = 'distributions'

    def __init__(
        self,
        loss_weight: float = 1.0,
        min_relative_sigma: float = 1e-3,
        shape: Literal['laplace', 'gaussian'] = 'laplace',
        fixed_relative_sigma: float | None = None,
        min_likelihood: float = MIN_LIKELIHOOD,
    ):
        super().__init__()
        if shape not in _EXPONENTS:
            raise ConfigError(f'MLECCLoss: shape is one of {", ".join(_EXPONENTS)}; got {shape!r}')
        if fixed_relative_sigma is not None:
            check_positive('MLECCLoss', fixed_relative_sigma=fixed_relative_sigma)
        self.shape, self.fixed_relative_sigma = shape, fixed_relative_sigma
        check_not_negative('MLECCLoss', loss_weight=loss_weight, min_likelihood=min_likelihood)
        check_positive('MLECCLoss', min_relative_sigma=min_relative_sigma)
        self.loss_weight, self.min_relative_sigma, self.min_likelihood = loss_weight, min_relative_sigma, min_likelihood

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
        log_likelihoods, likelihoods = [], []
        for axis, (probs, positions) in enumerate(_split_axes(predicted)):
            exponents = _EXPONENTS[self.shape](positions, target[..., axis], scale)
            # Divided by sigma alone, not by the size in px: MIN_LIKELIHOOD belongs to likelihoods of this scale.
            if self.min_likelihood:
                likelihoods.append((probs.float() * exponents.exp()).sum(dim=-1) / relative_sigmas)
            else:  # in logarithms, since the likelihood of a far label is 0 in float32
                log_probs = probs.float().clamp(min=_TINY).log()
                log_likelihoods.append((log_probs + exponents).logsumexp(dim=-1) - relative_sigmas.log())
        # x and y are independent, so that their likelihoods multiply; the bound is one for both.
        if self.min_likelihood:
            terms = -(likelihoods[0] * likelihoods[1] + self.min_likelihood).log()
        else:
            terms = -(log_likelihoods[0] + log_likelihoods[1])
        return self.loss_weight * weighted_sum(terms, weight) / max(terms.shape[1], 1)


@MODELS.register_module()
class BinDivergence(nn.Module):
    """Kullback-Leibler divergence of a distribution over bins from a fixed shape, the paper's baseline of `MLECCLoss`.

    The target is a normal or a Laplace distribution around the label, scaled to a sum of 1, or the one bin that is the
    nearest to the label; the loss is then the cross entropy. The mean over keypoints and axes, and the sum over
    instances, which is meant to be divided by their number.

    Args:
        relative_sigma: Width of the target, as a fraction of the instance size (root of the area): the standard
            deviation, or half the scale of a Laplace distribution.
        loss_weight: Factor on the loss.
        shape: 'gaussian' (the paper), 'laplace', the shape of `MLECCLoss`, or 'one_hot', which has no width.
        label_smooth_weight: Fraction of the mass of 'one_hot' targets that the other bins have, in equal parts.

    Raises:
        ConfigError: `relative_sigma` is not positive, there is no such shape, or labels of another shape are smoothed.
    """

    target_kind: ClassVar[str] = 'distributions'

    def __init__(
        self,
        relative_sigma: float = 0.05,
        loss_weight: float = 1.0,
        shape: Literal['gaussian', 'laplace', 'one_hot'] = 'gaussian',
        label_smooth_weight: float = 0.0,
    ):
        super().__init__()
        if shape not in (*_EXPONENTS, 'one_hot'):
            raise ConfigError(f'BinDivergence: shape is one of {", ".join(_EXPONENTS)}, one_hot; got {shape!r}')
        check_number('BinDivergence', 'label_smooth_weight', label_smooth_weight, 0, 1, below=True)
        if label_smooth_weight and shape != 'one_hot':
            raise ConfigError(
                f"BinDivergence: label_smooth_weight changes nothing with shape={shape!r}; set shape='one_hot'"
            )
        check_not_negative('BinDivergence', loss_weight=loss_weight)
        check_positive('BinDivergence', relative_sigma=relative_sigma)
        self.relative_sigma, self.loss_weight, self.shape = relative_sigma, loss_weight, shape
        self.label_smooth_weight = label_smooth_weight

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
        terms = sum(
            _kl_divergence(probs, self._draw_labels(positions, target[..., axis], scale))
            for axis, (probs, positions) in enumerate(_split_axes(predicted))
        )
        # Over 2 K: both axes of every keypoint.
        return self.loss_weight * weighted_sum(torch.as_tensor(terms), weight) / max(2 * target.shape[1], 1)

    def _draw_labels(self, positions: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
        """The target over the bins (N, K, bins), not scaled to a sum of 1."""
        if self.shape != 'one_hot':
            return _EXPONENTS[self.shape](positions, labels, scale).exp()
        # A label beyond the bins is nearest to the bin at the end.
        nearest = (positions.float()[:, None] - labels.float()[..., None]).abs().argmin(dim=-1, keepdim=True)
        num_bins = positions.shape[1]
        others = self.label_smooth_weight / (num_bins - 1)
        target = scale.new_full((*labels.shape, num_bins), others)
        return target.scatter(-1, nearest, 1 - self.label_smooth_weight)


def compute_laplace_exponents(positions: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """Compute the logarithms -|b - g| / (2 scale) of unnormalized Laplace densities of bins at b around labels at g.

    Args:
        positions: (N, bins), positions of the bins in px.
        labels: (N, K), labels in px.
        scale: (N, K), in px.

    Returns:
        (N, K, bins).
    """
    return (positions.float()[:, None] - labels.float()[..., None]).abs() / (-2 * scale[..., None])


def compute_gaussian_exponents(positions: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """Compute the logarithms -(b - g)^2 / (2 scale^2) of unnormalized normal densities of bins at b, labels at g.

    Args:
        positions: (N, bins), positions of the bins in px.
        labels: (N, K), labels in px.
        scale: (N, K), standard deviation in px.

    Returns:
        (N, K, bins).
    """
    distances = (positions.float()[:, None] - labels.float()[..., None]) / scale[..., None]
    return distances.square() / -2


_EXPONENTS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    'gaussian': compute_gaussian_exponents,
    'laplace': compute_laplace_exponents,
}


def _split_axes(distributions: KeypointDistributions) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Probabilities (N, K, bins) and positions (N, bins) in x, and the same in y."""
    return (
        (distributions.x_probs, distributions.x_positions),
        (distributions.y_probs, distributions.y_positions),
    )


def _kl_divergence(probs: Tensor, target: Tensor) -> Tensor:
    """(N, K) divergences of `probs` (N, K, bins) from `target` (N, K, bins), which is scaled to a sum of 1 first."""
    labels = target / target.sum(dim=-1, keepdim=True).clamp(min=_TINY)
    return (torch.xlogy(labels, labels) - labels * probs.float().clamp(min=1e-12).log()).sum(dim=-1)
