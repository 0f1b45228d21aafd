"""Where the cells of a field lie in the network's input."""

from __future__ import annotations

__all__ = ['Grid']

from dataclasses import dataclass

import torch
from torch import Tensor

from poseplug.core.errors import ConfigError
from poseplug.core.geometry import Size


@dataclass(frozen=True)
class Grid:
    """Positions of the cells of a field: cell g is at input pixel `stride * g + offset`, on both axes.

    Attributes:
        size: (width, height) in cells.
        input_size: (width, height) in input pixels.
        stride: input pixels per cell; one number, or one for x and one for y.
        offset: input pixel of cell 0, on both axes.

    Example:
        >>> grid = Grid.from_stride((368, 368), stride=8, offset=3.5)
        >>> grid.size
        (46, 46)
        >>> grid.to_pixels(torch.tensor([[0.0, 10.0]])).tolist()
        [[3.5, 83.5]]
    """

    size: Size
    input_size: Size
    stride: float | tuple[float, float]
    offset: float = 0.0

    @classmethod
    def from_stride(cls, input_size: Size, stride: int, offset: float = 0.0) -> Grid:
        """A grid of as many cells as strides fit into the input; the last cell may be covered in part only."""
        # Rounded up, as networks with padded strides do: 100 px at stride 8 are 13 cells.
        size = (-(-input_size[0] // stride), -(-input_size[1] // stride))
        return cls(size, input_size, stride, offset)

    @classmethod
    def from_corners(cls, input_size: Size, stride: int) -> Grid:
        """A grid of as many cells, whose first and last cells stand on the first and last pixels.

        Of n pixels cell g stands at g (n - 1) / (cells - 1). Such a grid is symmetric: flipped fields need no shift
        (Huang et al. 2020, arXiv:1911.07524).

        Raises:
            ConfigError: if the grid would have fewer than two cells along an axis.
        """
        size = cls.from_stride(input_size, stride).size
        if min(size) < 2:
            raise ConfigError(
                f'a grid from the first pixel to the last has at least 2 cells per axis; got {size} cells for an input '
                f'of {input_size} px at stride {stride}. Enlarge input_size or lower stride'
            )
        strides = ((input_size[0] - 1) / (size[0] - 1), (input_size[1] - 1) / (size[1] - 1))
        return cls(size, input_size, strides)

    @property
    def strides(self) -> tuple[float, float]:
        """Input pixels per cell in x and in y."""
        return self.stride if isinstance(self.stride, tuple) else (self.stride, self.stride)

    def to_pixels(self, cells: Tensor) -> Tensor:
        """Convert positions (..., 2; x, y) in cells to input pixels."""
        return cells * self._axis_strides(cells) + self.offset

    def to_cells(self, pixels: Tensor) -> Tensor:
        """Convert positions (..., 2; x, y) in input pixels to cells."""
        return (pixels - self.offset) / self._axis_strides(pixels)

    def axis_pixels(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input pixels of the columns (W,) and of the rows (H,), with the type and device of `like`."""
        columns, rows = (
            torch.arange(count, dtype=like.dtype, device=like.device) * stride + self.offset
            for count, stride in zip(self.size, self.strides, strict=True)
        )
        return columns, rows

    @property
    def flip_shift(self) -> int:
        """Cells to shift a flipped field to the right so that it lies on the field of the input; 0 if symmetric."""
        # Where cell 0 of the flipped input stands in the input, in cells; reversed columns have it as their last one.
        flipped_first_cell = (self.input_size[0] - 1 - 2 * self.offset) / self.strides[0]
        return round(flipped_first_cell - (self.size[0] - 1))

    def _axis_strides(self, like: Tensor) -> float | Tensor:
        if not isinstance(self.stride, tuple):
            return self.stride
        return torch.tensor(self.stride, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
