"""A context of the whole map that is added to every cell (Cao et al. 2019, arXiv:1904.11492, figure 4d)."""

from __future__ import annotations

from torch import Tensor, nn


class GlobalContext(nn.Module):
    """Average the cells by weights that a 1x1 convolution gives them, transform the average, and add it to every cell.

    Args:
        channels: Channels of the input and the output.
        hidden_channels: Channels inside the transform.
    """

    def __init__(self, channels: int, hidden_channels: int):
        super().__init__()
        self.mask = nn.Conv2d(channels, 1, 1, bias=False)  # a bias would not change the softmax
        self.transform = nn.Sequential(
            nn.Conv2d(channels, hidden_channels, 1),
            nn.LayerNorm([hidden_channels, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden_channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, C, H, W) with its context."""
        weights = self.mask(x).flatten(2).softmax(dim=-1)
        # (B, C, cells) times (B, cells, 1)
        context = x.flatten(2) @ weights.transpose(1, 2)
        return x + self.transform(context[..., None])
