"""How people are put together from limb fields, step by step: fields, peaks, candidate limbs, people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from poseplug.grouping.limbs import Pairs, every_pair, limbs_of, matched
from poseplug.grouping.peaks import Peaks
from poseplug.visualization.draw import (
    EDGE,
    SIDES,
    TEXT,
    contact_sheet,
    draw_poses,
    int_point,
    joint_sides,
    to_uint8,
)
from poseplug.visualization.draw import SHIFT as FRACTION
from poseplug.visualization.fields import COLORMAP, blend, onto, resizing, stage_overlay

if TYPE_CHECKING:
    from poseplug.codecs.base import Grid
    from poseplug.inference.predictor import Beliefs
    from poseplug.skeleton import Skeleton

WHEEL = 0.16  # of a picture's height: the legend of directions
FAINT = 0.05  # length of a vector from which its direction is shown
CROWDED = 40  # candidate limbs from which on their scores are not written


def direction_colors(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) float32 BGR of vectors (..., 2): the direction is the hue, red to the right, then yellow downwards.

    Opposite directions have opposite colours.
    """
    turn = np.degrees(np.arctan2(vectors[..., 1], vectors[..., 0])) % 360
    wheel = np.full((*turn.shape, 3), 255, np.uint8)
    wheel[..., 0] = (turn / 2).astype(np.uint8)
    wheel[..., 1] = 230
    flat = cv2.cvtColor(wheel.reshape(-1, 1, 3), cv2.COLOR_HSV2BGR)
    return flat.reshape(*turn.shape, 3).astype(np.float32)


def direction_wheel(side: int) -> tuple[np.ndarray, np.ndarray]:
    """(side, side, 3) the colour of every direction around the middle, and (side, side) 1 where the wheel is."""
    middle = (side - 1) / 2
    y, x = np.mgrid[:side, :side].astype(np.float32) - middle
    return direction_colors(np.stack([x, y], axis=-1)), (np.hypot(x, y) <= middle).astype(np.float32)


def limb_overlay(
    image: np.ndarray,
    paf: np.ndarray,
    grid: Grid,
    matrix: np.ndarray | None = None,
    strength: float = 0.9,
    wheel: bool = True,
) -> np.ndarray:
    """All limb fields (2 L, h, w) over a picture (H, W, 3), their direction as a hue; of several the longest vector.

    `matrix` (3, 3) takes pixels of the picture to input pixels; without it the picture is the input itself. A `wheel`
    in the corner tells which colour is which direction.
    """
    canvas = to_uint8(image)
    vectors = paf.reshape(-1, 2, *paf.shape[1:])
    longest = np.hypot(vectors[:, 0], vectors[:, 1]).argmax(axis=0)
    chosen = np.take_along_axis(vectors, longest[None, None], axis=0)[0]
    seen = np.stack([onto(canvas, axis, grid, matrix) for axis in chosen], axis=-1)
    length = np.clip(np.hypot(seen[..., 0], seen[..., 1]), 0, 1)
    found = blend(canvas, direction_colors(seen), strength * np.where(length < FAINT, 0, length))
    return with_wheel(found) if wheel else found


def with_wheel(picture: np.ndarray) -> np.ndarray:
    """A picture with the wheel of directions in its lower left corner, in place."""
    side = max(9, round(WHEEL * min(picture.shape[:2])))
    if min(picture.shape[:2]) >= side:
        colors, share = direction_wheel(side)
        corner = picture[-side:, :side]
        corner[...] = np.where(share[..., None] > 0, colors, corner).astype(np.uint8)
    return picture


def placed(cells: np.ndarray, grid: Grid, matrix: np.ndarray | None) -> np.ndarray:
    """Positions (M, 2) in cells as pixels of the picture that a matrix (3, 3) takes to the input."""
    pixels = np.asarray(cells, float).reshape(-1, 2) * grid.strides + grid.offset
    back = np.eye(3) if matrix is None else np.linalg.inv(matrix)
    return pixels @ back[:2, :2].T + back[:2, 2]


def draw_peaks(
    image: np.ndarray, peaks: Peaks, skeleton: Skeleton, grid: Grid, matrix: np.ndarray | None = None
) -> np.ndarray:
    """A picture with a dot a peak, in the colour of its side; the area is as large as its score."""
    canvas = to_uint8(image)
    sides = joint_sides(skeleton)
    radius = max(2.0, min(canvas.shape[:2]) / 60)
    for point, score, joint in zip(placed(peaks.cells, grid, matrix), peaks.scores, peaks.channels, strict=True):
        size = radius * float(np.sqrt(np.clip(score, 0.05, 1)))
        for color, grown in ((EDGE, 1), (SIDES[sides[int(joint)]], 0)):
            cv2.circle(
                canvas, int_point(point), round((size + grown) * (1 << FRACTION)), color, -1, cv2.LINE_AA, FRACTION
            )
    return canvas


def draw_candidates(
    image: np.ndarray,
    pairs: Pairs,
    scores: np.ndarray,
    peaks: Peaks,
    grid: Grid,
    matrix: np.ndarray | None = None,
    chosen: set[tuple[int, int]] | None = None,
) -> np.ndarray:
    """A picture with a line a candidate limb, coloured by its score (M,) up to 1; the weakest are drawn first.

    Those `chosen`, pairs of peaks, are drawn thick, and a few are written beside their middle.
    """
    canvas = to_uint8(image)
    if not len(pairs):
        return canvas
    points = placed(peaks.cells, grid, matrix)
    colors = cv2.applyColorMap((255 * np.clip(scores, 0, 1)).astype(np.uint8).reshape(-1, 1), COLORMAP).reshape(-1, 3)
    thin = max(1, round(min(canvas.shape[:2]) / 200))
    for i in np.argsort(scores, kind='stable'):
        start, end = int(pairs.start[i]), int(pairs.end[i])
        width = 3 * thin if chosen and (start, end) in chosen else thin
        color = tuple(int(c) for c in colors[i])
        cv2.line(canvas, int_point(points[start]), int_point(points[end]), color, width, cv2.LINE_AA, FRACTION)
    if len(pairs) <= CROWDED:
        for i in range(len(pairs)):
            x, y = (points[int(pairs.start[i])] + points[int(pairs.end[i])]) / 2
            where = (round(float(x)), round(float(y)))
            cv2.putText(canvas, f'{scores[i]:.2f}', where, cv2.FONT_HERSHEY_SIMPLEX, 0.3, TEXT, 1, cv2.LINE_AA)
    return canvas


def parsing_sheet(beliefs: Beliefs, codec: Any, stage: int = -1, side: int = 480) -> np.ndarray:
    """What the network saw with its joints, its limbs, their peaks, the candidate limbs, and the people, side by side.

    `codec` is the `PAF` that reads `beliefs`; each picture is `side` px high.
    """
    height, width = beliefs.inputs.shape[:2]
    size = (round(side * width / height), side)
    picture = cv2.resize(beliefs.inputs, size, interpolation=cv2.INTER_CUBIC)
    matrix = np.linalg.inv(resizing(size[0] / width, side / height))
    maps, paf = beliefs.maps[stage], beliefs.limbs[stage]
    fields = {'heatmap': torch.from_numpy(maps)[None], 'paf': torch.from_numpy(paf)[None]}
    skeleton, parsed = codec.skeleton, codec.parse(fields)[0]
    stride = max(beliefs.grid.strides)
    pairs, scores = limbs_of(every_pair(parsed.peaks, skeleton), parsed.peaks.cells, paf, codec.rules, stride)
    limbs = matched(pairs, scores, len(skeleton.limbs), codec.rules.match)
    chosen = {(start, end) for own in limbs for start, end, _ in own}
    people = parsed.poses(beliefs.grid.strides, beliefs.grid.offset).moved(np.linalg.inv(matrix))
    drawn = [
        stage_overlay(picture, maps[: len(skeleton)], beliefs.grid, matrix),
        limb_overlay(picture, paf, beliefs.grid, matrix),
        draw_peaks(picture, parsed.peaks, skeleton, beliefs.grid, matrix),
        draw_candidates(picture, pairs, scores, parsed.peaks, beliefs.grid, matrix, chosen),
        draw_poses(picture, people, skeleton, least=0),
    ]
    captions = [
        'joints',
        'limbs',
        f'{len(parsed.peaks)} peaks',
        f'{len(pairs)} candidate limbs',
        f'{len(people)} people',
    ]
    return contact_sheet(drawn, len(drawn), captions, size)
