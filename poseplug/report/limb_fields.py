"""How instances are grouped from part affinity fields, step by step: fields, peaks, candidate limbs, instances."""

from __future__ import annotations

__all__ = [
    'colorize_directions',
    'draw_candidate_limbs',
    'draw_direction_wheel',
    'draw_grouping_sheet',
    'draw_limb_fields',
    'draw_peaks',
]

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from poseplug.fields.peak_arrays import Peaks
from poseplug.grouping.limb_scores import PeakPairs, enumerate_peak_pairs, find_limbs, match_pairs
from poseplug.report.draw import EDGE_COLOR, TEXT_COLOR, draw_contact_sheet, draw_poses, to_uint8
from poseplug.report.drawing_style import SIDE_COLORS, keypoint_sides
from poseplug.report.heatmaps import (
    HEATMAP_COLORMAP,
    blend_colors,
    draw_stage_heatmaps,
    resize_matrix,
    warp_field_to_image,
)
from poseplug.report.strokes import draw_dot, draw_line

if TYPE_CHECKING:
    from poseplug.core.skeleton import Skeleton
    from poseplug.fields.grid import Grid
    from poseplug.fields.heatmap_stages import HeatmapStages

_WHEEL_SIZE_FRACTION = 0.16  # of the image's shorter side: the legend of directions
_MIN_WHEEL_SIZE_PX = 9
_MIN_VECTOR_LENGTH = 0.05  # length of a vector from which on its direction is drawn
_MAX_LABELED_CANDIDATES = 40  # with more candidate limbs their scores are not written


def colorize_directions(vectors: np.ndarray) -> np.ndarray:
    """Convert the directions of vectors to hues: red to the right, then yellow downward.

    Opposite directions have opposite colors.

    Args:
        vectors: (..., 2) x and y; their length does not matter.

    Returns:
        (..., 3) float32, BGR from 0 to 255.
    """
    degrees = np.degrees(np.arctan2(vectors[..., 1], vectors[..., 0])) % 360
    hsv = np.full((*degrees.shape, 3), 255, np.uint8)
    # OpenCV's hue of 8 bits counts steps of 2 degrees
    hsv[..., 0] = (degrees / 2).astype(np.uint8)
    hsv[..., 1] = 230
    bgr = cv2.cvtColor(hsv.reshape(-1, 1, 3), cv2.COLOR_HSV2BGR)
    return bgr.reshape(*degrees.shape, 3).astype(np.float32)


def draw_direction_wheel(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the color of every direction around the middle.

    Args:
        size_px: Width and height.

    Returns:
        Colors (size_px, size_px, 3), float32, and a mask (size_px, size_px), 1 inside the wheel.
    """
    center = (size_px - 1) / 2
    y, x = np.mgrid[:size_px, :size_px].astype(np.float32) - center
    return colorize_directions(np.stack([x, y], axis=-1)), (np.hypot(x, y) <= center).astype(np.float32)


def draw_limb_fields(
    image: np.ndarray,
    paf: np.ndarray,
    grid: Grid,
    image_to_input: np.ndarray | None = None,
    alpha: float = 0.9,
    show_wheel: bool = True,
) -> np.ndarray:
    """Draw all limb fields over an image, direction as hue; in a cell of several limbs the longest vector is drawn.

    Args:
        image: (H, W, 3), BGR.
        paf: (2 L, h, w), x and y of each limb in turn.
        grid: Where the cells of the fields lie in the input.
        image_to_input: (3, 3) takes pixels of the image to pixels of the input; by default the image is the input.
        alpha: Opacity of a vector of length 1.
        show_wheel: Whether a legend in the lower left corner shows which color is which direction.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    canvas = to_uint8(image)
    vectors = paf.reshape(-1, 2, *paf.shape[1:])
    # a sum of several limbs would have the direction of none
    longest = np.hypot(vectors[:, 0], vectors[:, 1]).argmax(axis=0)
    drawn_vectors = np.take_along_axis(vectors, longest[None, None], axis=0)[0]
    # x and y are interpolated and not the hue, which jumps from 360 to 0 degrees
    warped = np.stack([warp_field_to_image(canvas, axis, grid, image_to_input) for axis in drawn_vectors], axis=-1)
    length = np.clip(np.hypot(warped[..., 0], warped[..., 1]), 0, 1)
    opacity = alpha * np.where(length < _MIN_VECTOR_LENGTH, 0, length)
    drawing = blend_colors(canvas, colorize_directions(warped), opacity)
    return _add_direction_wheel(drawing) if show_wheel else drawing


def _add_direction_wheel(image: np.ndarray) -> np.ndarray:
    """An image with the wheel of directions in its lower left corner, in place; not if it is too small for it."""
    size = max(_MIN_WHEEL_SIZE_PX, round(_WHEEL_SIZE_FRACTION * min(image.shape[:2])))
    if min(image.shape[:2]) >= size:
        colors, mask = draw_direction_wheel(size)
        corner = image[-size:, :size]
        corner[...] = np.where(mask[..., None] > 0, colors, corner).astype(np.uint8)
    return image


def _cells_to_image(cells: np.ndarray, grid: Grid, image_to_input: np.ndarray | None) -> np.ndarray:
    """Positions (M, 2) in cells to pixels of the image that a matrix (3, 3) takes to the input."""
    pixels = np.asarray(cells, float).reshape(-1, 2) * grid.strides + grid.offset
    input_to_image = np.eye(3) if image_to_input is None else np.linalg.inv(image_to_input)
    return pixels @ input_to_image[:2, :2].T + input_to_image[:2, 2]


def draw_peaks(
    image: np.ndarray, peaks: Peaks, skeleton: Skeleton, grid: Grid, image_to_input: np.ndarray | None = None
) -> np.ndarray:
    """Draw a dot for each peak, in the color of its side and with an area as large as its score.

    Args:
        image: (H, W, 3), BGR.
        peaks: The peaks of one image, whose channels are keypoints.
        skeleton: The skeleton of the keypoints.
        grid: Where the cells of the heatmaps lie in the input.
        image_to_input: (3, 3) takes pixels of the image to pixels of the input; by default the image is the input.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    canvas = to_uint8(image)
    sides = keypoint_sides(skeleton)
    full_radius = max(2.0, min(canvas.shape[:2]) / 60)
    points = _cells_to_image(peaks.cells, grid, image_to_input)
    for point, score, channel in zip(points, peaks.scores, peaks.channels, strict=True):
        # the area is proportional to the score, and so the radius to its root; 0.05 keeps a dot visible
        radius = full_radius * float(np.sqrt(np.clip(score, 0.05, 1)))
        for color, extra in ((EDGE_COLOR, 1), (SIDE_COLORS[sides[int(channel)]], 0)):
            draw_dot(canvas, point, color, radius + extra)
    return canvas


def draw_candidate_limbs(
    image: np.ndarray,
    pairs: PeakPairs,
    scores: np.ndarray,
    peaks: Peaks,
    grid: Grid,
    image_to_input: np.ndarray | None = None,
    matched_pairs: set[tuple[int, int]] | None = None,
) -> np.ndarray:
    """Draw a line for each candidate limb, colored by its score; the lowest scores are drawn first.

    Args:
        image: (H, W, 3), BGR.
        pairs: M candidate limbs.
        scores: (M,) up to 1; written beside the lines if these are few.
        peaks: The peaks of the image.
        grid: Where the cells of the heatmaps lie in the input.
        image_to_input: (3, 3) takes pixels of the image to pixels of the input; by default the image is the input.
        matched_pairs: Indices of start and end peak of the limbs that are drawn thick.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    canvas = to_uint8(image)
    if not len(pairs):
        return canvas
    points = _cells_to_image(peaks.cells, grid, image_to_input)
    levels = (255 * np.clip(scores, 0, 1)).astype(np.uint8).reshape(-1, 1)
    colors = cv2.applyColorMap(levels, HEATMAP_COLORMAP).reshape(-1, 3)
    thin = max(1, round(min(canvas.shape[:2]) / 200))
    for i in np.argsort(scores, kind='stable'):
        start, end = int(pairs.start_peaks[i]), int(pairs.end_peaks[i])
        width = 3 * thin if matched_pairs and (start, end) in matched_pairs else thin
        color = tuple(int(c) for c in colors[i])
        draw_line(canvas, points[start], points[end], color, width)
    if len(pairs) <= _MAX_LABELED_CANDIDATES:
        _write_scores(canvas, pairs, scores, points)
    return canvas


def _write_scores(canvas: np.ndarray, pairs: PeakPairs, scores: np.ndarray, points: np.ndarray) -> None:
    """Write the score (M,) of each pair in the middle between its peaks (P, 2), in place."""
    for i in range(len(pairs)):
        x, y = (points[int(pairs.start_peaks[i])] + points[int(pairs.end_peaks[i])]) / 2
        position = (round(float(x)), round(float(y)))
        cv2.putText(canvas, f'{scores[i]:.2f}', position, cv2.FONT_HERSHEY_SIMPLEX, 0.3, TEXT_COLOR, 1, cv2.LINE_AA)


def draw_grouping_sheet(heatmap_stages: HeatmapStages, codec: Any, stage: int = -1, height_px: int = 480) -> np.ndarray:
    """Draw every step of grouping side by side: heatmaps, limb fields, peaks, candidate limbs, instances.

    Args:
        heatmap_stages: Heatmaps and limb fields of a model.
        codec: The `PAF` codec that decodes them.
        stage: Index of the stage.
        height_px: Height of each image.

    Returns:
        (H, W, 3) uint8, BGR: the network's input five times, with captions.
    """
    grid, skeleton = heatmap_stages.grid, codec.skeleton
    height, width = heatmap_stages.input_image.shape[:2]
    size = (round(height_px * width / height), height_px)
    image = cv2.resize(heatmap_stages.input_image, size, interpolation=cv2.INTER_CUBIC)
    image_to_input = np.linalg.inv(resize_matrix(size[0] / width, height_px / height))
    heatmaps, paf = heatmap_stages.heatmaps[stage], heatmap_stages.limb_fields[stage]
    fields = {'heatmap': torch.from_numpy(heatmaps)[None], 'paf': torch.from_numpy(paf)[None]}
    parsed = codec.parse_fields(fields)[0]
    peaks = parsed.peaks
    # the candidates that `parse_fields` has chosen from: the codec returns the chosen ones alone
    pairs, scores = find_limbs(enumerate_peak_pairs(peaks, skeleton), peaks.cells, paf, codec.rules, max(grid.strides))
    limbs = match_pairs(pairs, scores, len(skeleton.limbs), codec.rules.matching, peaks.channels)
    matched_pairs = {(start, end) for matched in limbs for start, end, _ in matched}
    poses = parsed.to_poses(grid.strides, grid.offset).transform(np.linalg.inv(image_to_input))
    drawings = {
        'heatmaps': draw_stage_heatmaps(image, heatmaps[: len(skeleton)], grid, image_to_input),
        'limb fields': draw_limb_fields(image, paf, grid, image_to_input),
        f'{len(peaks)} peaks': draw_peaks(image, peaks, skeleton, grid, image_to_input),
        f'{len(pairs)} candidate limbs': draw_candidate_limbs(
            image, pairs, scores, peaks, grid, image_to_input, matched_pairs
        ),
        f'{len(poses)} instances': draw_poses(image, poses, skeleton, min_side_px=0),
    }
    return draw_contact_sheet(list(drawings.values()), len(drawings), list(drawings), size)
