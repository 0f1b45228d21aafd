"""Several images drawn as one: each keeps its pixels and its matrix until the one warp at the end of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from poseplug.core.geometry import Size, transform_points, translation_matrix
from poseplug.core.sample import DeferredImage


@dataclass(frozen=True)
class Tile:
    """One image of a mosaic.

    Attributes:
        image: the image, as in a `Sample`.
        image_to_mosaic: (3, 3) matrix from the pixels of the image to those of the mosaic.
        region: (4,) xyxy in mosaic px, outside of which the image is not drawn.
    """

    image: np.ndarray | DeferredImage
    image_to_mosaic: np.ndarray
    region: np.ndarray

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR of the whole image."""
        return self.image if isinstance(self.image, np.ndarray) else self.image.get_pixels()


@dataclass(frozen=True)
class ImageMosaic:
    """Tiles on a background, with further mosaics blended over them.

    Attributes:
        size: (width, height) of the mosaic in px.
        tiles: the images, drawn in this order.
        overlays: mosaics in the same pixels, blended so that this one and all overlays have equal weight.
    """

    size: Size
    tiles: tuple[Tile, ...]
    overlays: tuple[ImageMosaic, ...] = field(default=())

    def get_pixels(self) -> np.ndarray:
        """Return the whole mosaic on gray background as (H, W, 3) uint8 BGR."""
        return self.render_view(np.eye(3), self.size, cv2.INTER_LINEAR, (128, 128, 128))

    def render_view(
        self, mosaic_to_input: np.ndarray, input_size: Size, interpolation: int, fill_color: Sequence[int]
    ) -> np.ndarray:
        """Draw the mosaic into a network's input, each image with a single warp.

        Args:
            mosaic_to_input: (3, 3) matrix from mosaic to input pixels.
            input_size: (width, height) of the input in px.
            interpolation: OpenCV's interpolation flag.
            fill_color: color (BGR, 0 to 255) of the background.

        Returns:
            (H, W, 3) uint8 BGR.
        """
        canvas: np.ndarray = np.empty((input_size[1], input_size[0], 3), np.uint8)
        canvas[...] = fill_color
        for tile in self.tiles:
            _draw_tile(canvas, tile, mosaic_to_input, interpolation, fill_color)
        # The n-th layer gets weight 1/n, the blend below it the rest: equal weights for all layers.
        for n, overlay in enumerate(self.overlays, start=2):
            layer = overlay.render_view(mosaic_to_input, input_size, interpolation, fill_color)
            canvas = np.asarray(cv2.addWeighted(canvas, 1 - 1 / n, layer, 1 / n, 0))
        return canvas


def _draw_tile(
    canvas: np.ndarray, tile: Tile, mosaic_to_input: np.ndarray, interpolation: int, fill_color: Sequence[int]
) -> None:
    """Warp a tile into an input (H, W, 3), in place."""
    x, y, right, bottom = tile.region
    corners = transform_points(mosaic_to_input, np.array([(x, y), (right, y), (right, bottom), (x, bottom)], float))
    # Only the rectangle that the region covers is warped, not the whole input once per tile.
    low = np.clip(np.floor(corners.min(axis=0)), 0, canvas.shape[1::-1]).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, canvas.shape[1::-1]).astype(int)
    if (high <= low).any():
        return
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    input_to_rectangle = translation_matrix(-float(low[0]), -float(low[1]))
    # From right to left: image to mosaic, to the input, to the part of the input that is drawn.
    image_to_rectangle = input_to_rectangle @ mosaic_to_input @ tile.image_to_mosaic
    warped = cv2.warpAffine(
        tile.pixels,
        image_to_rectangle[:2],
        size,
        flags=interpolation,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=tuple(fill_color),
    )
    # The region, rotated with the mosaic, ends within the rectangle; the rest of it belongs to other tiles.
    region_mask = np.zeros(warped.shape[:2], np.uint8)
    cv2.fillConvexPoly(region_mask, np.rint(corners - low).astype(np.int32), 1)
    rectangle = canvas[low[1] : high[1], low[0] : high[0]]
    rectangle[region_mask > 0] = warped[region_mask > 0]
