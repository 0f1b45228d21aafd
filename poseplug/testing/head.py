"""The contract of a head."""

from __future__ import annotations

__all__ = ['HeadContract']

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from poseplug.core.errors import MismatchError
from poseplug.core.geometry import Size
from poseplug.models.heads.base import Head
from poseplug.testing.network import NetworkContract
from poseplug.testing.samples import create_random_features


class HeadContract(NetworkContract):
    """Laws of a head: `build_part(in_channels, strides, fields, stride)` returns it.

    A head must serve any codec of its stride, so the fields are those of no codec and differ in their channels. A head
    of another `field_kind` than 'maps' overrides `shapes`, and may read them in `build_part`, as it may `input_size`.

    Attributes:
        in_channels: Channels of the feature maps that it receives.
        strides: Strides of these feature maps.
        fields: Names and channels of the fields that it predicts.
        stride: Input pixels per cell of the fields.
        input_size: (width, height) of the images.
        field_kind: Kind of the fields, one of the head's `field_kinds`.

    Example:
        >>> from poseplug.models.heads.heatmap import HeatmapHead
        >>> class TestHeatmapHead(HeadContract):
        ...     def build_part(self, in_channels, strides, fields, stride):
        ...         return HeatmapHead(in_channels, strides, fields, stride)
        >>> TestHeatmapHead().test_it_runs_in_half_precision()
    """

    in_channels: ClassVar[tuple[int, ...]] = (6, 8)
    strides: ClassVar[tuple[int, ...]] = (4, 8)
    fields: ClassVar[dict[str, int]] = {'first': 3, 'second': 5}
    stride: ClassVar[int] = 8
    input_size: ClassVar[Size] = (64, 96)
    field_kind: ClassVar[str] = 'maps'

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the fields of one image."""
        width, height = (pixels // self.stride for pixels in self.input_size)
        return {name: (channels, height, width) for name, channels in self.fields.items()}

    def build_part(
        self, in_channels: Sequence[int], strides: Sequence[int], fields: dict[str, int], stride: int
    ) -> Head:
        return super().build_part(in_channels, strides, fields, stride)

    def part_args(self) -> tuple[Any, ...]:
        return self.in_channels, self.strides, self.fields, self.stride

    def random_input(self, batch_size: int = 2) -> list[Tensor]:
        return create_random_features(batch_size, self.in_channels, self.strides, self.input_size)

    def run_stages(self, head: Head, features: list[Tensor]) -> list[dict[str, Tensor]]:
        """Return the head's stages; a head that `uses_centers` receives subjects away from the image center."""
        # Away from the middle, where a head that ignored them would be right by chance.
        centers = torch.tensor([[20.0, 50.0]]).expand(len(features[0]), 2)
        return head(features, centers=centers) if head.uses_centers else head(features)

    def run(self, part: Any, inputs: Any) -> list[Tensor]:
        return [maps for stage in self.run_stages(part, inputs) for maps in stage.values()]

    def test_stages_fields_and_grid_are_what_it_declares(self) -> None:
        head = self.build_seeded()
        stages = self.run_stages(head, self.random_input())
        assert self.field_kind in head.field_kinds
        assert self.field_kind != 'maps' or head.stride == self.stride
        assert len(stages) == head.num_stages
        shapes = {name: (2, *shape) for name, shape in self.shapes.items()}
        for stage in stages:
            assert stage
            # An earlier stage may predict a part of the fields, the last one all of them.
            assert {name: tuple(maps.shape) for name, maps in stage.items()}.items() <= shapes.items()
        assert stages[-1].keys() == shapes.keys()

    def test_a_missing_stride_is_an_error_that_names_both_strides(self) -> None:
        if self.field_kind == 'maps':
            self.check_missing_stride()

    def check_missing_stride(self) -> None:
        """Check that a head of maps refuses features that never reach the codec's stride."""
        # Features of stride 3 cannot be enlarged to stride 8 by a factor of 2.
        with pytest.raises(MismatchError, match=r'\b8\b.*\b3\b'):
            self.build_part((6,), (3,), self.fields, self.stride)
