"""Channel weights that follow from the means of all channels (Hu et al. 2018, arXiv:1709.01507)."""

from __future__ import annotations

from torch import Tensor, nn

from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder


class SqueezeExcitation(nn.Module):
    """Multiply every channel by a weight that two 1x1 convolutions compute from the means of all channels.

    Args:
        channels: Channels of the input and the output.
        ratio: Number of channels per channel between the two convolutions.
        gate: Module that maps the weights to 0..1; a sigmoid by default.
        layers: What builds the activation between the convolutions.
    """

    def __init__(self, channels: int, ratio: int, gate: nn.Module | None = None, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        hidden_channels = max(1, channels // ratio)
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1)
        self.act = layers.build_activation()
        self.fc2 = nn.Conv2d(hidden_channels, channels, 1)
        self.gate = nn.Sigmoid() if gate is None else gate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, C, H, W) with weighted channels."""
        # The squeeze: (B, C, 1, 1).
        means = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.fc2(self.act(self.fc1(means))))
