"""Several pictures as one: each keeps its pixels and a matrix of its own until the one warp at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from poseplug.datasets.images import Picture
from poseplug.geometry import Size, apply, translation


@dataclass(frozen=True)
class Tile:
    """One picture on a canvas: `image` as in a `Sample`, `matrix` (3, 3) from its pixels to those of the canvas.

    It shows within `region` (4,), x, y of two corners on the canvas.
    """

    image: np.ndarray | Picture | Canvas
    matrix: np.ndarray
    region: np.ndarray

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3) the whole picture, BGR, 0 to 255."""
        return self.image if isinstance(self.image, np.ndarray) else self.image.pixels()


@dataclass(frozen=True)
class Canvas:
    """Tiles on a ground of `size` (width, height); `over` are further canvases that shine through in equal shares.

    The tiles of the canvases that shine through stand on this one's pixels.
    """

    size: Size
    tiles: tuple[Tile, ...]
    over: tuple[Canvas, ...] = field(default=())

    def pixels(self) -> np.ndarray:
        """(H, W, 3) the whole canvas on grey ground, BGR, 0 to 255."""
        return self.drawn(np.eye(3), self.size, cv2.INTER_LINEAR, (128, 128, 128))

    def drawn(self, matrix: np.ndarray, size: Size, flags: int, fill: Sequence[int]) -> np.ndarray:
        """(H, W, 3) an input of `size` behind a matrix (3, 3; canvas to input pixels); the ground is `fill`."""
        out: np.ndarray = np.empty((size[1], size[0], 3), np.uint8)
        out[...] = fill
        for tile in self.tiles:
            draw(out, tile, matrix, flags, fill)
        for n, other in enumerate(self.over, start=2):
            out = np.asarray(cv2.addWeighted(out, 1 - 1 / n, other.drawn(matrix, size, flags, fill), 1 / n, 0))
        return out


def draw(out: np.ndarray, tile: Tile, matrix: np.ndarray, flags: int, fill: Sequence[int]) -> None:
    """Warp a tile into its place of an input (H, W, 3), in place: no more than the rectangle that its region covers."""
    x, y, right, bottom = tile.region
    corners = apply(matrix, np.array([(x, y), (right, y), (right, bottom), (x, bottom)], float))
    low = np.clip(np.floor(corners.min(axis=0)), 0, out.shape[1::-1]).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, out.shape[1::-1]).astype(int)
    if (high <= low).any():
        return
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    there = translation(-float(low[0]), -float(low[1]))
    part = cv2.warpAffine(
        tile.pixels, (there @ matrix @ tile.matrix)[:2], size, flags=flags,
        borderMode=cv2.BORDER_CONSTANT, borderValue=tuple(fill),
    )  # fmt: skip
    shape = np.zeros(part.shape[:2], np.uint8)
    cv2.fillConvexPoly(shape, np.rint(corners - low).astype(np.int32), 1)
    place = out[low[1] : high[1], low[0] : high[0]]
    place[shape > 0] = part[shape > 0]
