"""Losses of the distributions that RTMO's classifier gives (Lu et al. 2023, arXiv:2312.07526, section 3.3)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.models.dcc import Distributions
from poseplug.models.losses.regression import check_positive
from poseplug.models.losses.varifocal import weighted_sum
from poseplug.registry import MODELS

SMALLEST = 1e-4  # likelihood: what is even less likely costs no more


@MODELS.register_module()
class MLE(nn.Module):
    """Minus the logarithm of how likely the labels are: Laplace's distribution about each bin, mixed over the bins.

    A label at g is exp(-|b - g| / (2 spread size)) / spread likely of the bin at b px, where `size` is the root of the
    person's area and the network tells the spread. So what scatters is allowed to, and bins of any width, even of other
    widths for every person, can be trained. The mean over a person's joints, with or without a label, and the sum over
    people: divide it by their number.

    A spread below `narrowest` counts as that. Where the network has grown sure, a joint in the wrong place by many
    spreads is hardly any less likely a bin nearer, and learns no more: to learn a few pictures by heart, take 0.03.
    """

    reads: ClassVar[str] = 'distributions'

    def __init__(self, factor: float = 1.0, narrowest: float = 1e-3):
        super().__init__()
        check_positive('MLE', narrowest=narrowest)
        self.factor, self.narrowest = factor, narrowest

    def forward(self, found: Distributions, wanted: Tensor, sizes: Tensor, weight: Tensor | None = None) -> Tensor:
        """Distributions of N people, their joints (N, K, 2) px, sizes (N,) px and the weights (N, K) to one number."""
        spread = found.spread.float().clamp(min=self.narrowest)
        scale = spread * sizes.float().clamp(min=1)[:, None]
        likely = [
            (chances.float() * laplace(places, wanted[..., axis], scale)).sum(dim=-1) / spread
            for axis, (chances, places) in enumerate(((found.x, found.x_places), (found.y, found.y_places)))
        ]
        terms = -(likely[0] * likely[1] + SMALLEST).log()
        return self.factor * weighted_sum(terms, weight) / max(terms.shape[1], 1)


@MODELS.register_module()
class BinDivergence(nn.Module):
    """The divergence of a distribution over bins from the one that is wanted, the baseline of the paper's `MLE`.

    Wanted is a Laplace distribution about the label with a spread of `width` times the person's size, scaled to a sum
    of 1. The mean over joints and axes, and the sum over people.
    """

    reads: ClassVar[str] = 'distributions'

    def __init__(self, width: float = 0.05, factor: float = 1.0):
        super().__init__()
        check_positive('BinDivergence', width=width)
        self.width, self.factor = width, factor

    def forward(self, found: Distributions, wanted: Tensor, sizes: Tensor, weight: Tensor | None = None) -> Tensor:
        """As `MLE`'s."""
        scale = (self.width * sizes.float().clamp(min=1))[:, None].expand(wanted.shape[:2])
        terms = sum(
            divergence(chances, laplace(places, wanted[..., axis], scale))
            for axis, (chances, places) in enumerate(((found.x, found.x_places), (found.y, found.y_places)))
        )
        return self.factor * weighted_sum(torch.as_tensor(terms), weight) / max(2 * wanted.shape[1], 1)


def laplace(places: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """(N, K, bins) exp(-|b - g| / (2 scale)) of bins at (N, bins) px about labels (N, K) px, with scales (N, K) px."""
    return ((places.float()[:, None] - labels.float()[..., None]).abs() / (-2 * scale[..., None])).exp()


def divergence(chances: Tensor, wanted: Tensor) -> Tensor:
    """(N, K) the divergence of chances (N, K, bins) from what is wanted, which is scaled to a sum of 1 first."""
    truth = wanted / wanted.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return (torch.xlogy(truth, truth) - truth * chances.float().clamp(min=1e-12).log()).sum(dim=-1)
