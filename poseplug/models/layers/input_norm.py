"""The normalization of images for a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_pixel_norm


class InputNorm(nn.Module):
    """Normalize images for the network: (value - mean) / std of every channel.

    Args:
        mean: Mean of the three channels, 0 to 255.
        std: Standard deviation of the three channels, 0 to 255.
        channel_order: 'rgb' or 'bgr', the order of `mean`, of `std` and of the channels that the network receives.

    Raises:
        ConfigError: The order is unknown, or `mean` or `std` are not three numbers for pixels of 0 to 255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], channel_order: str = 'rgb'):
        super().__init__()
        if channel_order not in ('rgb', 'bgr'):
            raise ConfigError(f"input_norm.channel_order is 'rgb' or 'bgr'; got {channel_order!r}")
        self.channel_order = channel_order
        check_pixel_norm('input_norm', mean, std)
        for name, values in (('mean', mean), ('std', std)):
            # Not part of the state dict: the numbers are settings, not weights.
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalize images.

        Args:
            images: (B, H, W, 3), BGR, 0 to 255.

        Returns:
            (B, 3, H, W) in the order of the network and of the type of its weights.
        """
        # (B, H, W, 3) to (B, 3, H, W); a view, which the arithmetic below copies once.
        pixels = images.permute(0, 3, 1, 2)
        # Images are BGR, as OpenCV reads them.
        if self.channel_order == 'rgb':
            pixels = pixels.flip(1)
        # In single precision at least; a network that was converted by `half()` receives halves.
        dtype = torch.promote_types(torch.float32, self.mean.dtype)
        return ((pixels.to(dtype) - self.mean) / self.std).to(self.mean.dtype)
