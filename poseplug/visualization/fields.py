"""Belief maps as coloured light over pictures: one map, all joints of a stage, and stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from poseplug.errors import ConfigError, closest
from poseplug.geometry import translation
from poseplug.visualization.draw import CAPTION, CRISP, SHEET, contact_sheet, enlarged, to_uint8, write

if TYPE_CHECKING:
    from poseplug.codecs.base import Grid
    from poseplug.inference.predictor import Beliefs

COLORMAP = cv2.COLORMAP_TURBO
LABEL = 64  # px left of a row of a strip
SHARPNESS = 4  # how soon the stronger of two maps takes over a pixel


def overlay(
    image: np.ndarray,
    field: np.ndarray,
    grid: Grid,
    matrix: np.ndarray | None = None,
    strength: float = 0.7,
    top: float = 1.0,
) -> np.ndarray:
    """One map (h, w) in colours over a picture (H, W, 3), as strong as its values; `top` is full strength.

    `matrix` (3, 3) takes pixels of the picture to input pixels; without it the picture is the input itself.
    """
    canvas = to_uint8(image)
    light = onto(canvas, field, grid, matrix) / top
    colors = cv2.applyColorMap((255 * np.clip(light, 0, 1)).astype(np.uint8), COLORMAP)
    return blend(canvas, colors, strength * np.clip(light, 0, 1) ** 0.5)


def stage_overlay(
    image: np.ndarray, fields: np.ndarray, grid: Grid, matrix: np.ndarray | None = None, strength: float = 0.85
) -> np.ndarray:
    """All maps (C, h, w) of a stage over one picture, each in its own hue; where maps meet the stronger hue wins."""
    canvas = to_uint8(image)
    best = np.zeros(canvas.shape[:2], np.float32)
    total = np.full(canvas.shape[:2], 1e-6, np.float32)
    colors = np.zeros(canvas.shape, np.float32)
    for field, hue in zip(fields, hues(len(fields)), strict=True):
        light = np.clip(onto(canvas, field, grid, matrix), 0, 1)
        best, share = np.maximum(best, light), light**SHARPNESS
        total += share
        colors += share[..., None] * hue
    return blend(canvas, colors / total[..., None], strength * best**1.5)


def stage_strips(beliefs: Beliefs, joints: Sequence[str] | None = None, side: int = 160) -> np.ndarray:
    """Rows are stages, columns the chosen joints (all by default) after one with all joints of the stage together.

    The picture below the maps is what the network saw, `side` px high.
    """
    chosen = beliefs.joints if joints is None else tuple(joints)
    places = [channel(beliefs, j) for j in chosen]
    size = (round(side * beliefs.inputs.shape[1] / beliefs.inputs.shape[0]), side)
    picture = cv2.resize(beliefs.inputs, size, interpolation=cv2.INTER_CUBIC)
    matrix = np.linalg.inv(resizing(size[0] / beliefs.inputs.shape[1], size[1] / beliefs.inputs.shape[0]))
    rows = []
    for maps in beliefs.maps:
        every = stage_overlay(picture, maps[: len(beliefs.joints)], beliefs.grid, matrix)
        rows += [every, *(overlay(picture, maps[k], beliefs.grid, matrix) for k in places)]
    captions = [n.replace('_', ' ') for n in ('all joints', *chosen)] + [''] * (len(rows) - len(places) - 1)
    return labelled(contact_sheet(rows, len(places) + 1, captions, size), len(beliefs.maps), side)


def labelled(sheet: np.ndarray, stages: int, side: int) -> np.ndarray:
    """A sheet of rows `side` px high with 'stage 1', 'stage 2', ... on its left."""
    column = np.full((len(sheet), LABEL, 3), SHEET, np.uint8)
    step = len(sheet) // stages
    for t in range(stages):
        middle = t * step + side // 2
        write(column[middle : middle + CAPTION], f'stage {t + 1}')
    return np.hstack([column, sheet])


def stage_pictures(beliefs: Beliefs, joint: str | None = None) -> list[np.ndarray]:
    """The whole picture once a stage, with all joints or one of them over it, enlarged where it is small."""
    picture, factor = enlarged(to_uint8(beliefs.image), CRISP)
    matrix = beliefs.matrix @ np.linalg.inv(resizing(factor, factor))
    if joint is None:
        count = len(beliefs.joints)
        return [stage_overlay(picture, maps[:count], beliefs.grid, matrix) for maps in beliefs.maps]
    return [overlay(picture, maps[channel(beliefs, joint)], beliefs.grid, matrix) for maps in beliefs.maps]


def onto(image: np.ndarray, field: np.ndarray, grid: Grid, matrix: np.ndarray | None = None) -> np.ndarray:
    """A map (h, w) sampled at every pixel of a picture: (H, W), 0 where the map does not reach."""
    across, down = grid.strides
    cells = np.diag([1 / across, 1 / down, 1.0]) @ translation(-grid.offset, -grid.offset)
    there = cells if matrix is None else cells @ matrix
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.ascontiguousarray(field, np.float32), there[:2], image.shape[1::-1], flags=flags)


def blend(image: np.ndarray, colors: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours over a picture, their share (H, W) in 0..1; the picture loses some of its own colour and light."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    ground = 0.35 * image.astype(np.float32) + 0.4 * grey
    return (ground * (1 - share[..., None]) + colors * share[..., None]).round().astype(np.uint8)


def hues(count: int) -> np.ndarray:
    """(count, 3) BGR colours as far apart as a colour wheel allows."""
    wheel = np.zeros((1, count, 3), np.uint8)
    wheel[0, :, 0] = np.linspace(0, 180, count, endpoint=False)
    wheel[0, :, 1:] = (200, 255)
    return cv2.cvtColor(wheel, cv2.COLOR_HSV2BGR)[0]


def resizing(fx: float, fy: float) -> np.ndarray:
    """(3, 3) from the pixels of a picture to those of it resized by factors: its edges stay its edges."""
    return translation(-0.5, -0.5) @ np.diag([fx, fy, 1.0]) @ translation(0.5, 0.5)


def channel(beliefs: Beliefs, joint: str) -> int:
    """The map of a joint, or of 'background'; an unknown name is an error that says the closest."""
    if joint == 'background' and beliefs.maps[0].shape[0] > len(beliefs.joints):
        return len(beliefs.joints)
    if joint not in beliefs.joints:
        raise ConfigError(f'no map of {joint!r}; {closest(joint, beliefs.joints) or "there are"} {beliefs.joints}')
    return beliefs.joints.index(joint)
