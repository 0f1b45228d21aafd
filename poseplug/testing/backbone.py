"""The contract of a backbone."""

from __future__ import annotations

__all__ = ['BackboneContract']

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from poseplug.core.geometry import Size
from poseplug.testing.network import NetworkContract, assert_map_stride
from poseplug.testing.samples import create_random_maps


class BackboneContract(NetworkContract):
    """Laws of a backbone: `build_part()` returns it.

    Attributes:
        input_sizes: (width, height) of images that it must accept.

    Example:
        >>> from poseplug.models.backbones.cpm import CPMTrunk
        >>> class TestCPMTrunk(BackboneContract):
        ...     def build_part(self):
        ...         return CPMTrunk()
        >>> TestCPMTrunk().test_channels_and_strides_are_what_it_declares()
    """

    # The last size is a multiple of no stride: real images are resized to any size.
    input_sizes: ClassVar[Sequence[Size]] = ((64, 64), (48, 96), (65, 79))

    def random_input(self, batch_size: int = 2) -> Tensor:
        return create_random_maps(batch_size, 3, self.input_sizes[0])

    def test_channels_and_strides_are_what_it_declares(self) -> None:
        backbone = self.build_seeded().eval()
        for size in self.input_sizes:
            outputs = list(backbone(create_random_maps(1, 3, size)))
            assert [maps.shape[1] for maps in outputs] == list(backbone.out_channels)
            assert len(outputs) == len(backbone.strides)
            for maps, stride in zip(outputs, backbone.strides, strict=True):
                assert_map_stride(maps, stride, size)
