"""Keypoints as plain numbers of the whole image (Toshev and Szegedy 2014, arXiv:1312.4659)."""

from __future__ import annotations

__all__ = ['RegressionHead']

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from poseplug.core.errors import MismatchError
from poseplug.models.heads.base import FieldAxis, Head
from poseplug.registry import MODELS


@MODELS.register_module()
class RegressionHead(Head):
    """x and y of every keypoint, by one linear layer on the mean of the last feature map.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        shapes: Shape (K, 2) of every field; provided by the codec.

    Raises:
        MismatchError: A field has another shape.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'shapes')
    field_kinds: ClassVar[tuple[str, ...]] = ('points',)
    num_values: ClassVar[int] = 2  # per keypoint
    mismatch_hint: ClassVar[str] = 'set model.codec.type to Regression, or use RLEHead'

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], shapes: Mapping[str, tuple[int, ...]]):
        super().__init__()
        self.in_channels, self.strides, self.shapes = tuple(in_channels), tuple(strides), dict(shapes)
        check_point_shapes(type(self).__name__, shapes, self.num_values, self.mismatch_hint)
        self.points = PointLayers(in_channels[-1], shapes)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        return [self.points(features[-1].mean(dim=(2, 3)))]

    def list_field_axes(self) -> list[FieldAxis]:
        return self.points.list_axes('points')


class PointLayers(nn.ModuleDict):
    """One linear layer per field, from one vector per image.

    Args:
        in_channels: Length of the vectors.
        shapes: Shape (K, values) of every field.
    """

    def __init__(self, in_channels: int, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__({name: nn.Linear(in_channels, shape[0] * shape[1]) for name, shape in shapes.items()})
        self.num_keypoints = {name: shape[0] for name, shape in shapes.items()}
        for layer in self.children():
            nn.init.normal_(layer.weight, 0.0, 0.01)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the fields, each (B, K, values), of vectors (B, C)."""
        return {name: layer(features).unflatten(1, (self.num_keypoints[name], -1)) for name, layer in self.items()}

    def list_axes(self, name: str) -> list[FieldAxis]:
        """List the axes of the fields, with several numbers per keypoint.

        Args:
            name: Of this module in its head.
        """
        return [
            FieldAxis(f'{name}.{n}', 0, (field,), repeats=len(p) // self.num_keypoints[field])
            for n, p in self.named_parameters()
            for field in (n.split('.')[0],)
        ]


def check_point_shapes(part: str, shapes: Mapping[str, tuple[int, ...]], num_values: int, hint: str) -> None:
    """Check that every field has a certain number of values per keypoint.

    Args:
        part: Name of the head, for the message.
        shapes: Shape of every field.
        num_values: Number of values per keypoint.
        hint: What to change, for the message.

    Raises:
        MismatchError: A field has another shape than (K, num_values).
    """
    if any(len(shape) != 2 or shape[1] != num_values for shape in shapes.values()):
        raise MismatchError(
            f'{part} predicts {num_values} values per keypoint, but the codec reads {dict(shapes)}, (keypoints, '
            f'values); {hint}'
        )
