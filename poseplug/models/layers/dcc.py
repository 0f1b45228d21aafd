"""The dynamic coordinate classifier of RTMO (Lu et al. 2023, arXiv:2312.07526, section 3.2)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.core.geometry import Size
from poseplug.core.setting_checks import setting_error
from poseplug.models.layers.gau import GatedAttention
from poseplug.models.layers.position_encoding import sine_encoding, sine_periods

_TEMPERATURE = 300.0  # of the sine encoding of positions in px
_INITIAL_ATTENTION_GAIN = 0.01  # factor on the attention between keypoints at the start of training


class KeypointDistributions(NamedTuple):
    """Distributions of the keypoints of N instances over bins, separately in x and y.

    Attributes:
        x_probs: (N, K, bins), probabilities in x.
        y_probs: (N, K, bins), probabilities in y.
        x_positions: (N, bins), positions of the bins in px.
        y_positions: (N, bins), positions of the bins in px.
        relative_sigmas: (N, K), predicted scatter of the labels, as a fraction of the instance size (root of the area).
    """

    x_probs: Tensor
    y_probs: Tensor
    x_positions: Tensor
    y_positions: Tensor
    relative_sigmas: Tensor

    def expected_keypoints(self) -> Tensor:
        """Return the keypoints (N, K, 2) in px, each the mean position of its distributions."""
        x = (self.x_probs * self.x_positions[:, None].to(self.x_probs)).sum(dim=-1)
        y = (self.y_probs * self.y_positions[:, None].to(self.y_probs)).sum(dim=-1)
        return torch.stack([x, y], dim=-1)


class DCC(nn.Module):
    """Dynamic coordinate classifier: keypoints from an instance's pose vector and box, by classifying columns and rows.

    The bins are spread over the instance's box (dynamic bin allocation), and every bin is described by the sine
    encoding of its position relative to the instance's grid point (dynamic bin encoding). The keypoints of an instance
    exchange information through one gated attention unit.

    Args:
        num_keypoints: Number K of keypoints.
        in_channels: Length of the pose vectors.
        input_size: (width, height) of the network's input in px.
        feat_channels: Channels of the keypoint tokens and of the bin encodings.
        num_bins: Number of bins in x and y.
        padding: Width of the range of the bins, as a multiple of the box.
        dynamic: False spreads the bins over the whole input and learns their encodings, as in SimCC: the paper's
            baseline.
        encoded_position: What the encoding of a bin is computed from: its 'offset' from the instance's grid point (the
            released code), or its 'coordinate' in the input (the paper's text).

    Raises:
        ConfigError: `padding` is not positive, an axis has less than two bins, or there is no such position.
    """

    periods: Tensor

    def __init__(
        self,
        num_keypoints: int,
        in_channels: int,
        input_size: Size,
        feat_channels: int = 128,
        num_bins: Size = (192, 256),
        padding: float = 1.25,
        dynamic: bool = True,
        encoded_position: Literal['offset', 'coordinate'] = 'offset',
    ):
        super().__init__()
        if encoded_position not in ('offset', 'coordinate'):
            raise setting_error('DCC', 'encoded_position', "'offset' or 'coordinate'", encoded_position)
        if padding <= 0 or min(num_bins) < 2:
            raise ConfigError(
                f'DCC: padding is positive, and num_bins at least 2 per axis; got padding={padding}, '
                f'num_bins={tuple(num_bins)}'
            )
        self.num_keypoints, self.num_bins = num_keypoints, (num_bins[0], num_bins[1])
        self.padding, self.dynamic, self.encoded_position = padding, dynamic, encoded_position
        self.input_size = (input_size[0], input_size[1])
        token_channels = num_keypoints * feat_channels
        self.to_tokens = nn.Sequential(nn.Linear(in_channels, token_channels), nn.BatchNorm1d(token_channels))
        self.attention = GatedAttention(feat_channels, query_dims=128)
        with torch.no_grad():  # at full strength, the sum over all keypoints would drown every token
            self.attention.o.weight.mul_(_INITIAL_ATTENTION_GAIN)
        self.code = nn.Parameter(
            torch.randn(num_keypoints, 128) * 0.02
        )  # tells the keypoints apart in queries and keys
        self.x_code, self.y_code = nn.Linear(feat_channels, feat_channels), nn.Linear(feat_channels, feat_channels)
        # The relative sigmas: a sigmoid times a learned scale, which starts at 0.1 of the instance size.
        self.to_spread = nn.Linear(in_channels, num_keypoints)
        self.spread_scale = nn.Parameter(torch.tensor(0.1))
        # Not saved: it follows from the settings.
        self.register_buffer('periods', sine_periods(feat_channels, _TEMPERATURE), persistent=False)
        if not dynamic:
            # One learned encoding per bin, in x and in y.
            self.learnt = nn.ParameterList(nn.Parameter(torch.randn(n, feat_channels) * 0.02) for n in self.num_bins)

    def forward(self, vectors: Tensor, boxes: Tensor, points: Tensor) -> KeypointDistributions:
        """Classify the keypoints of N instances.

        Args:
            vectors: (N, in_channels), pose vectors.
            boxes: (N, 4), xyxy in px.
            points: (N, 2), grid points in px.

        Returns:
            The distributions of the keypoints.
        """
        tokens = self.to_tokens(vectors).unflatten(1, (self.num_keypoints, -1))  # (N, K, C)
        tokens = self.attention(tokens, self.code)
        x_positions, y_positions = self.bin_positions(boxes)
        # Relative to the grid point, an encoding does not depend on where in the image the instance is.
        origin = points if self.encoded_position == 'offset' else torch.zeros_like(points)
        x_probs = self.classify_bins(tokens, x_positions - origin[:, :1], 0)
        y_probs = self.classify_bins(tokens, y_positions - origin[:, 1:], 1)
        return KeypointDistributions(x_probs, y_probs, x_positions, y_positions, self.predict_relative_sigmas(vectors))

    def predict_relative_sigmas(self, vectors: Tensor) -> Tensor:
        """Predict the scatter (N, K) of the labels, as a fraction of the instance size, from pose vectors (N, C)."""
        return self.to_spread(vectors).float().sigmoid() * self.spread_scale

    def bin_positions(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions of the bins, evenly spaced over every enlarged box, both ends included.

        Args:
            boxes: (N, 4), xyxy in px.

        Returns:
            (N, bins) in x and (N, bins) in y, px.
        """
        if self.dynamic:
            center = (boxes[:, :2] + boxes[:, 2:]) / 2
            half_size = (boxes[:, 2:] - boxes[:, :2]) / 2 * self.padding
            low, high = center - half_size, center + half_size
        else:
            width, height = self.input_size
            input_box = boxes.new_tensor([[0.0, 0.0, width - 1, height - 1]])
            low, high = input_box.expand(boxes.shape[0], 4).split(2, dim=1)
        # Made on every call, since boxes may be of another type and device than the weights.
        fractions = [torch.linspace(0, 1, n, device=boxes.device, dtype=boxes.dtype) for n in self.num_bins]
        x, y = (low[:, i : i + 1] + fractions[i] * (high - low)[:, i : i + 1] for i in range(2))
        return x, y

    def classify_bins(self, tokens: Tensor, offsets: Tensor, axis: int) -> Tensor:
        """Return the probabilities of bins: the softmax of the products of tokens and encodings.

        The encodings are a linear function of sines. Its matrix multiplies the tokens, of which there are fewer than
        bins; the products are the same.

        Args:
            tokens: (N, K, C), of the keypoints.
            offsets: (N, bins), positions relative to the instance's grid point, or coordinates, in px.
            axis: 0 for x, 1 for y.

        Returns:
            (N, K, bins).
        """
        layer = (self.x_code, self.y_code)[axis]
        if self.dynamic:
            codes = sine_encoding(offsets, self.periods).to(tokens.dtype)
        else:
            codes = self.learnt[axis].to(tokens.dtype).expand(offsets.shape[0], -1, -1)
        products = (tokens @ layer.weight.to(tokens.dtype)) @ codes.mT
        # The bias is the same for all bins, and changes no probability; with it every parameter has a gradient.
        products = products + tokens @ layer.bias.to(tokens.dtype)[:, None]
        return products.float().softmax(dim=-1)
