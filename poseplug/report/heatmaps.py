"""Heatmaps as colored light over images: one heatmap, all keypoints of a stage, and stage by stage."""

from __future__ import annotations

__all__ = [
    'HEATMAP_COLORMAP',
    'blend_colors',
    'distinct_colors',
    'draw_heatmap',
    'draw_heatmap_strips',
    'draw_stage_heatmaps',
    'draw_stage_images',
    'find_heatmap_channel',
    'resize_matrix',
    'warp_field_to_image',
]

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from poseplug.core.errors import ConfigError, suggest_closest
from poseplug.core.geometry import translation_matrix
from poseplug.report.draw import (
    CAPTION_HEIGHT_PX,
    MIN_SIDE_PX,
    SHEET_COLOR,
    draw_contact_sheet,
    draw_text_line,
    enlarge_image,
    to_uint8,
)

if TYPE_CHECKING:
    from poseplug.fields.grid import Grid
    from poseplug.fields.heatmap_stages import HeatmapStages

HEATMAP_COLORMAP = cv2.COLORMAP_TURBO
_ROW_LABEL_WIDTH_PX = 64  # left of a row of a strip
_BLEND_EXPONENT = 4  # how soon the stronger of two heatmaps takes over a pixel


def draw_heatmap(
    image: np.ndarray,
    heatmap: np.ndarray,
    grid: Grid,
    image_to_input: np.ndarray | None = None,
    alpha: float = 0.7,
    max_value: float = 1.0,
) -> np.ndarray:
    """Draw one heatmap in colors over an image, the stronger the higher its values.

    Args:
        image: (H, W, 3), BGR.
        heatmap: (h, w).
        grid: Where the cells of the heatmap lie in the input.
        image_to_input: (3, 3) takes pixels of the image to pixels of the input; by default the image is the input.
        alpha: Opacity at `max_value`.
        max_value: Value of full strength.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    canvas = to_uint8(image)
    values = np.clip(warp_field_to_image(canvas, heatmap, grid, image_to_input) / max_value, 0, 1)
    colors = cv2.applyColorMap((255 * values).astype(np.uint8), HEATMAP_COLORMAP)
    # the root makes low values visible, which would otherwise hardly color the image
    return blend_colors(canvas, colors, alpha * values**0.5)


def draw_stage_heatmaps(
    image: np.ndarray, heatmaps: np.ndarray, grid: Grid, image_to_input: np.ndarray | None = None, alpha: float = 0.85
) -> np.ndarray:
    """Draw all heatmaps of a stage over one image, each in its own hue; where several meet, the strongest hue wins.

    Args:
        image: (H, W, 3), BGR.
        heatmaps: (C, h, w), values from 0 to 1.
        grid: Where the cells of the heatmaps lie in the input.
        image_to_input: (3, 3) takes pixels of the image to pixels of the input; by default the image is the input.
        alpha: Opacity at the value 1.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    canvas = to_uint8(image)
    strongest = np.zeros(canvas.shape[:2], np.float32)
    # no division by 0 where no heatmap has a value
    total_weight = np.full(canvas.shape[:2], 1e-6, np.float32)
    colors = np.zeros(canvas.shape, np.float32)
    for heatmap, hue in zip(heatmaps, distinct_colors(len(heatmaps)), strict=True):
        values = np.clip(warp_field_to_image(canvas, heatmap, grid, image_to_input), 0, 1)
        weight = values**_BLEND_EXPONENT
        strongest = np.maximum(strongest, values)
        total_weight += weight
        # a mean of hues weighted by the fourth power: near a peak its own hue is all but alone
        colors += weight[..., None] * hue
    return blend_colors(canvas, colors / total_weight[..., None], alpha * strongest**1.5)


def draw_heatmap_strips(
    heatmap_stages: HeatmapStages, keypoints: Sequence[str] | None = None, height_px: int = 160
) -> np.ndarray:
    """Draw the heatmaps stage by stage: a row for each stage, a column for each keypoint after one of all together.

    The image below the heatmaps is the input of the network.

    Args:
        heatmap_stages: What the model predicts for one instance.
        keypoints: Names of the keypoints that get a column, or 'background'; all keypoints by default.
        height_px: Height of a row in pixels.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ConfigError: A keypoint has no heatmap.
    """
    stages, grid = heatmap_stages, heatmap_stages.grid
    names = stages.keypoints if keypoints is None else tuple(keypoints)
    channels = [find_heatmap_channel(stages, name) for name in names]
    height, width = stages.input_image.shape[:2]
    size = (round(height_px * width / height), height_px)
    image = cv2.resize(stages.input_image, size, interpolation=cv2.INTER_CUBIC)
    image_to_input = np.linalg.inv(resize_matrix(size[0] / width, size[1] / height))
    cells = []
    for heatmaps in stages.heatmaps:
        cells.append(draw_stage_heatmaps(image, heatmaps[: len(stages.keypoints)], grid, image_to_input))
        cells += [draw_heatmap(image, heatmaps[channel], grid, image_to_input) for channel in channels]
    captions = [name.replace('_', ' ') for name in ('all keypoints', *names)]
    captions += [''] * (len(cells) - len(captions))  # only the first row has captions
    sheet = draw_contact_sheet(cells, len(channels) + 1, captions, size)
    return _add_stage_labels(sheet, len(stages.heatmaps), height_px)


def _add_stage_labels(sheet: np.ndarray, num_stages: int, row_height_px: int) -> np.ndarray:
    """A sheet of one row per stage with 'stage 1', 'stage 2', ... on its left."""
    labels = np.full((len(sheet), _ROW_LABEL_WIDTH_PX, 3), SHEET_COLOR, np.uint8)
    row_step = len(sheet) // num_stages
    for stage in range(num_stages):
        y = stage * row_step + row_height_px // 2
        draw_text_line(labels[y : y + CAPTION_HEIGHT_PX], f'stage {stage + 1}')
    return np.hstack([labels, sheet])


def draw_stage_images(heatmap_stages: HeatmapStages, keypoint: str | None = None) -> list[np.ndarray]:
    """Draw the whole image once for each stage, with the heatmaps of all keypoints or of one over it.

    Args:
        heatmap_stages: What the model predicts for one instance.
        keypoint: Name of the keypoint, or 'background'; all keypoints by default.

    Returns:
        (H, W, 3) uint8, BGR, for each stage; a small image is enlarged.

    Raises:
        ConfigError: The keypoint has no heatmap.
    """
    stages, grid = heatmap_stages, heatmap_stages.grid
    image, factor = enlarge_image(to_uint8(stages.image), MIN_SIDE_PX)
    image_to_input = stages.image_to_input @ np.linalg.inv(resize_matrix(factor, factor))
    if keypoint is None:
        count = len(stages.keypoints)
        return [draw_stage_heatmaps(image, heatmaps[:count], grid, image_to_input) for heatmaps in stages.heatmaps]
    channel = find_heatmap_channel(stages, keypoint)
    return [draw_heatmap(image, heatmaps[channel], grid, image_to_input) for heatmaps in stages.heatmaps]


def warp_field_to_image(
    image: np.ndarray, field: np.ndarray, grid: Grid, image_to_input: np.ndarray | None = None
) -> np.ndarray:
    """Sample a field at every pixel of an image, by bilinear interpolation.

    Args:
        image: (H, W, 3); only its size counts.
        field: (h, w).
        grid: Where the cells of the field lie in the input.
        image_to_input: (3, 3) takes pixels of the image to pixels of the input; by default the image is the input.

    Returns:
        (H, W) float32; 0 where the field does not reach.
    """
    stride_x, stride_y = grid.strides
    # the inverse of: input px = cell * stride + offset
    input_to_cells = np.diag([1 / stride_x, 1 / stride_y, 1.0]) @ translation_matrix(-grid.offset, -grid.offset)
    image_to_cells = input_to_cells if image_to_input is None else input_to_cells @ image_to_input
    # the matrix takes pixels of the result to cells, which OpenCV calls the inverse map
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.ascontiguousarray(field, np.float32), image_to_cells[:2], image.shape[1::-1], flags=flags)


def blend_colors(image: np.ndarray, colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Blend colors over an image that loses some of its own color and light, so that they stand out.

    Args:
        image: (H, W, 3) uint8, BGR.
        colors: (H, W, 3), BGR from 0 to 255.
        alpha: (H, W) opacity of the colors, 0 to 1.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    background = 0.35 * image.astype(np.float32) + 0.4 * gray
    return (background * (1 - alpha[..., None]) + colors * alpha[..., None]).round().astype(np.uint8)


def distinct_colors(count: int) -> np.ndarray:
    """Return (count, 3) BGR colors, uint8, as far apart as a color wheel allows."""
    wheel = np.zeros((1, count, 3), np.uint8)
    # OpenCV's hue of 8 bits goes from 0 to 179, in steps of 2 degrees
    wheel[0, :, 0] = np.linspace(0, 180, count, endpoint=False)
    wheel[0, :, 1:] = (200, 255)
    return cv2.cvtColor(wheel, cv2.COLOR_HSV2BGR)[0]


def resize_matrix(scale_x: float, scale_y: float) -> np.ndarray:
    """Build the matrix (3, 3) from pixels of an image to those of the resized image: edges go to edges."""
    return translation_matrix(-0.5, -0.5) @ np.diag([scale_x, scale_y, 1.0]) @ translation_matrix(0.5, 0.5)


def find_heatmap_channel(heatmap_stages: HeatmapStages, keypoint: str) -> int:
    """Find the channel of a keypoint, or of 'background' where there is one.

    Raises:
        ConfigError: There is no such heatmap.
    """
    keypoints = heatmap_stages.keypoints
    if keypoint == 'background' and heatmap_stages.heatmaps[0].shape[0] > len(keypoints):
        return len(keypoints)
    if keypoint not in keypoints:
        hints = [suggest_closest(keypoint, keypoints), f'known: {", ".join(keypoints)}']
        raise ConfigError('; '.join([f'there is no heatmap of {keypoint!r}', *filter(None, hints)]))
    return keypoints.index(keypoint)
