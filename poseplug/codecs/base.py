"""The contract of a codec: joints to fields for training, fields to joints for prediction, both batched in torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from poseplug.errors import ConfigError, MismatchError
from poseplug.geometry import Size
from poseplug.poses import Poses
from poseplug.skeleton import Skeleton

Fields = Mapping[str, Tensor]


@dataclass(frozen=True)
class Targets:
    """What each stage of a head should predict, and how much it counts.

    `stages` holds one dict of fields (B, C, ...) a stage; the last one serves every later stage too. `weights` are
    (B, C), or of the field's own shape, by field: one dict for all stages, or one a stage. A field without weights
    counts fully.
    """

    stages: tuple[dict[str, Tensor], ...]
    weights: dict[str, Tensor] | tuple[dict[str, Tensor], ...] = field(default_factory=dict)

    def at(self, stage: int) -> dict[str, Tensor]:
        """The fields of a stage, counted from 0."""
        return self.stages[min(stage, len(self.stages) - 1)]

    def weights_at(self, stage: int) -> dict[str, Tensor]:
        """The weights of a stage, counted from 0."""
        if isinstance(self.weights, Mapping):
            return self.weights
        return self.weights[min(stage, len(self.weights) - 1)]


@dataclass(frozen=True)
class Grid:
    """Where the cells of a field lie: cell g stands at input pixel `stride * g + offset`, on both axes.

    `size` is (width, height) in cells, `inputs` (width, height) in input pixels. `stride` is one number, or one for
    x and one for y.
    """

    size: Size
    inputs: Size
    stride: float | tuple[float, float]
    offset: float = 0.0

    @classmethod
    def of_stride(cls, inputs: Size, stride: int, offset: float = 0.0) -> Grid:
        """As many cells as strides fit into the input, the last one perhaps in part."""
        return cls((-(-inputs[0] // stride), -(-inputs[1] // stride)), inputs, stride, offset)

    @classmethod
    def aligned(cls, inputs: Size, stride: int) -> Grid:
        """The same cells from the first pixel to the last: cell g at g (n - 1) / (cells - 1) of n pixels.

        Such a grid is its own mirror image, and needs no shift (Huang et al. 2020, arXiv:1911.07524).
        """
        size = cls.of_stride(inputs, stride).size
        if min(size) < 2:
            raise ConfigError(
                f'a grid from the first pixel to the last has at least 2 cells; got {size} of {inputs} px'
            )
        return cls(size, inputs, ((inputs[0] - 1) / (size[0] - 1), (inputs[1] - 1) / (size[1] - 1)))

    @property
    def strides(self) -> tuple[float, float]:
        """Input pixels a cell in x and in y."""
        return self.stride if isinstance(self.stride, tuple) else (self.stride, self.stride)

    def pixels(self, cells: Tensor) -> Tensor:
        """Positions (..., 2) in cells to input pixels."""
        return cells * self._per_axis(cells) + self.offset

    def cells(self, pixels: Tensor) -> Tensor:
        """Positions (..., 2) in input pixels to cells."""
        return (pixels - self.offset) / self._per_axis(pixels)

    def axes(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The input pixels of the columns (W,) and of the rows (H,), with the type and device of `like`."""
        columns, rows = (
            torch.arange(n, dtype=like.dtype, device=like.device) * stride + self.offset
            for n, stride in zip(self.size, self.strides, strict=True)
        )
        return columns, rows

    @property
    def mirror_shift(self) -> int:
        """Cells by which a mirrored field moves right so that it lies on the unmirrored one (0 when symmetric)."""
        return round((self.inputs[0] - 1 - 2 * self.offset) / self.strides[0] - (self.size[0] - 1))

    def _per_axis(self, like: Tensor) -> float | Tensor:
        if not isinstance(self.stride, tuple):
            return self.stride
        return torch.tensor(self.stride, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)


@dataclass(frozen=True)
class Codec(ABC):
    """Settings of one encoding; both directions sit together.

    `skeleton` names the joints; `input_size` is (width, height) of the network's input. `tolerance` is the largest
    error in input pixels of `decode(encode(x))` for a joint inside; `score` says what a joint's score means. `kind`
    is what a head must predict for it: 'maps', 'bins' (two classifications a joint), 'points', or 'people' (a person at
    every cell). One that `assembles` finds any number of people in a picture; their joints do not follow from the
    fields by tensor operations alone. The numbers of `relative` fields mean something beside those of the same view
    alone: where other fields are averaged over a picture and its mirror, theirs stand one behind the other, as further
    channels, which `decode` takes.
    """

    skeleton: Skeleton
    input_size: Size

    score: ClassVar[str] = 'peak of the field, clipped to 0..1'
    tolerance: ClassVar[float] = 1.0
    kind: ClassVar[str] = 'maps'
    assembles: ClassVar[bool] = False
    relative: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        size = tuple(self.input_size)
        if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
            raise ConfigError(f'{type(self).__name__}: input_size is (width, height) in whole pixels; got {size}')
        object.__setattr__(self, 'input_size', size)

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names of the fields and the shape of each for one picture, such as {'heatmap': (15, 46, 46)}."""

    @property
    def fields(self) -> dict[str, int]:
        """Names of the fields and their channels, such as {'heatmap': 15}."""
        return {name: shape[0] for name, shape in self.shapes.items()}

    @abstractmethod
    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        """Joints (B, N, K, 2) in input pixels, visible (B, N, K), people (B, N; who is real) to targets."""

    @abstractmethod
    def decode(self, fields: Fields) -> Poses:
        """Fields, each (B, C, ...), to the people of every picture, in input pixels."""

    @abstractmethod
    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Fields of a mirrored input as those of the input."""

    def averaged(self, fields: Fields, others: Fields) -> dict[str, Tensor]:
        """Fields of an input and those that `flip` made of its mirror as one: their means, both of `relative` ones."""
        return {
            name: torch.cat([maps, others[name]], dim=1) if name in self.relative else (maps + others[name]) / 2
            for name, maps in fields.items()
        }

    def check_stages(self, head: str, stages: int) -> None:  # noqa: B027 - most codecs have nothing to check
        """Raise a MismatchError where the targets are for other stages than the head's; most serve any number."""

    @cached_property
    def mirror_channels(self) -> dict[str, list[int]]:
        """For each field, the channel that each channel becomes in a mirror; extra channels (background) stay."""
        swaps = self.skeleton.mirror.tolist()
        return {name: swaps + list(range(len(swaps), count)) for name, count in self.fields.items()}


@dataclass(frozen=True)
class MapCodec(Codec):
    """A codec whose fields are maps, of one cell every `stride` input pixels; `grid` says where exactly."""

    stride: int = 4

    @property
    @abstractmethod
    def fields(self) -> dict[str, int]:
        """Names of the fields and their channels, such as {'heatmap': 15}."""

    @property
    @abstractmethod
    def grid(self) -> Grid:
        """Where the cells of the fields lie in the input."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        width, height = self.grid.size
        return {name: (channels, height, width) for name, channels in self.fields.items()}

    def sized(self, maps: Tensor) -> Tensor:
        """Maps (..., H, W), which must lie on this codec's grid."""
        size = (maps.shape[-1], maps.shape[-2])
        if size != self.grid.size:
            raise MismatchError(
                f'{type(self).__name__} reads maps of {self.grid.size} cells from an input of {self.input_size} px, '
                f'both (width, height); these have {size}. Set model.codec.input_size to that of the pictures'
            )
        return maps

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Fields of a mirrored input as those of the input: joints swapped, columns reversed, shifted if needed."""
        return {name: self._flip(maps[:, self.mirror_channels[name]]) for name, maps in fields.items()}

    def _flip(self, maps: Tensor) -> Tensor:
        maps, shift = maps.flip(-1), self.grid.mirror_shift
        if shift == 0:
            return maps
        moved = maps.roll(shift, -1)
        edge = (Ellipsis, slice(0, shift) if shift > 0 else slice(shift, None))
        moved[edge] = maps[edge]
        return moved
