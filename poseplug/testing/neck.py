"""The contract of a neck."""

from __future__ import annotations

__all__ = ['NeckContract']

from typing import Any, ClassVar

from torch import Tensor

from poseplug.core.geometry import Size
from poseplug.testing.network import NetworkContract, assert_map_stride
from poseplug.testing.samples import create_random_features


class NeckContract(NetworkContract):
    """Laws of a neck: `build_part(in_channels, strides)` returns it.

    Attributes:
        in_channels: Channels of the feature maps that it receives.
        strides: Strides of these feature maps.
        input_size: (width, height) of the images.

    Example:
        >>> from poseplug.models.necks.hybrid_encoder import HybridEncoder
        >>> class TestHybridEncoder(NeckContract):
        ...     def build_part(self, in_channels, strides):
        ...         return HybridEncoder(in_channels, strides, out_channels=8, hidden_dim=16, feedforward_channels=16)
        >>> TestHybridEncoder().test_channels_and_strides_are_what_it_declares()
    """

    in_channels: ClassVar[tuple[int, ...]] = (6, 8, 10)
    strides: ClassVar[tuple[int, ...]] = (4, 8, 16)
    input_size: ClassVar[Size] = (64, 96)

    def part_args(self) -> tuple[Any, ...]:
        return self.in_channels, self.strides

    def random_input(self, batch_size: int = 2) -> list[Tensor]:
        return create_random_features(batch_size, self.in_channels, self.strides, self.input_size)

    def test_channels_and_strides_are_what_it_declares(self) -> None:
        neck = self.build_seeded().eval()
        outputs = list(neck(self.random_input()))
        # The declared channels are what heads are built with.
        assert [maps.shape[1] for maps in outputs] == list(neck.out_channels)
        for maps, stride in zip(outputs, neck.strides, strict=True):
            assert_map_stride(maps, stride, self.input_size)
