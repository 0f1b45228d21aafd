"""The dynamic coordinate classifier of RTMO (Lu et al. 2023, arXiv:2312.07526, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.geometry import Size
from poseplug.models.gau import GatedAttention
from poseplug.models.positions import periods, sine_code

TEMPERATURE = 300.0  # of the sine code of positions in px
QUIET = 0.01  # by how much what joints tell each other is damped at first


class Distributions(NamedTuple):
    """Where each joint may be: probabilities `x` (N, K, bins) and `y`, and the places (N, bins) of the bins in px.

    `spread` (N, K) is how wide the network thinks the labels of a joint scatter, as a share of the person's size.
    """

    x: Tensor
    y: Tensor
    x_places: Tensor
    y_places: Tensor
    spread: Tensor

    def expectation(self) -> Tensor:
        """The joints (N, K, 2) in px, as the mean place of each distribution."""
        x = (self.x * self.x_places[:, None].to(self.x)).sum(dim=-1)
        y = (self.y * self.y_places[:, None].to(self.y)).sum(dim=-1)
        return torch.stack([x, y], dim=-1)


class DCC(nn.Module):
    """A person's vector and box to its joints, by one classification of columns and one of rows for each joint.

    `bins` in x and y are spread over the person's box, enlarged by `padding` (dynamic allocation), and each bin is told
    apart by the sine code of its place relative to the person's grid point (dynamic encoding). With `dynamic` False
    the bins lie over the whole input, as in SimCC, and are learnt codes: the paper's baseline. Joints see each other
    through one gated attention unit.
    """

    periods: Tensor

    def __init__(
        self,
        joints: int,
        vector: int,
        input_size: Size,
        channels: int = 128,
        bins: Size = (192, 256),
        padding: float = 1.25,
        dynamic: bool = True,
    ):
        super().__init__()
        if padding <= 0 or min(bins) < 2:
            raise ConfigError(f'DCC: padding is positive and bins are 2 or more a side; got {padding}, {bins}')
        self.joints, self.bins, self.padding, self.dynamic = joints, (bins[0], bins[1]), padding, dynamic
        self.input_size = (input_size[0], input_size[1])
        self.to_tokens = nn.Sequential(nn.Linear(vector, joints * channels), nn.BatchNorm1d(joints * channels))
        self.attention = GatedAttention(channels, width=128)
        with torch.no_grad():  # what all joints say at once would drown what each is told
            self.attention.o.weight.mul_(QUIET)
        self.code = nn.Parameter(torch.randn(joints, 128) * 0.02)
        self.x_code, self.y_code = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.to_spread = nn.Linear(vector, joints)
        self.spread_scale = nn.Parameter(torch.tensor(0.1))
        self.register_buffer('periods', periods(channels, TEMPERATURE), persistent=False)
        if not dynamic:
            self.learnt = nn.ParameterList(nn.Parameter(torch.randn(n, channels) * 0.02) for n in self.bins)

    def forward(self, vectors: Tensor, boxes: Tensor, points: Tensor) -> Distributions:
        """People (N, D), their boxes (N, 4; x, y of two corners) and grid points (N, 2), px, to `Distributions`."""
        tokens = self.to_tokens(vectors).unflatten(1, (self.joints, -1))
        tokens = self.attention(tokens, self.code)
        x_places, y_places = self.places(boxes)
        x_codes, y_codes = self.codes(x_places - points[:, :1], 0), self.codes(y_places - points[:, 1:], 1)
        x, y = ((tokens @ codes.to(tokens.dtype).mT).float().softmax(dim=-1) for codes in (x_codes, y_codes))
        spread = self.to_spread(vectors).float().sigmoid() * self.spread_scale
        return Distributions(x, y, x_places, y_places, spread)

    def places(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The places (N, bins) of the bins in px, evenly over each person's enlarged box, ends included."""
        if not self.dynamic:
            ends = boxes.new_tensor([[0.0, 0.0, self.input_size[0] - 1, self.input_size[1] - 1]])
            low, high = ends.expand(len(boxes), 4).split(2, dim=1)
        else:
            middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * self.padding
            low, high = middle - half, middle + half
        shares = [torch.linspace(0, 1, n, device=boxes.device, dtype=boxes.dtype) for n in self.bins]
        x, y = (low[:, i : i + 1] + shares[i] * (high - low)[:, i : i + 1] for i in range(2))
        return x, y

    def codes(self, away: Tensor, axis: int) -> Tensor:
        """The codes (N, bins, C) of bins `away` (N, bins) px from the grid point."""
        layer = (self.x_code, self.y_code)[axis]
        if not self.dynamic:
            return layer(self.learnt[axis]).expand(len(away), -1, -1)
        return layer(sine_code(away, self.periods).to(layer.weight.dtype))
