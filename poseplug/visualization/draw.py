"""Skeletons over pictures, and sheets of many pictures, drawn with OpenCV."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import cv2
import numpy as np

from poseplug.errors import ImageError, MismatchError
from poseplug.poses import Poses
from poseplug.skeleton import Skeleton

Color = tuple[int, int, int]

# BGR, told apart by people who see few colours, and light enough for dark pictures
SIDES: dict[str, Color] = {'left': (40, 150, 255), 'right': (255, 170, 40), 'middle': (120, 230, 120)}
EDGE: Color = (20, 20, 20)
SHEET: Color = (32, 32, 32)
TEXT: Color = (225, 225, 225)
SHIFT = 4  # fractional bits of a point: OpenCV draws at sixteenths of a pixel
FAR = 1 << 14  # px; points further out than this are drawn there
CRISP = 480  # px of the longer side from which a skeleton looks crisp
CAPTION = 20  # px under a picture of a sheet


def draw_poses(
    image: np.ndarray,
    poses: Poses,
    skeleton: Skeleton,
    threshold: float = 0.0,
    least: int = CRISP,
) -> np.ndarray:
    """A copy of a picture (H, W, 3; BGR) with the skeletons of its people; joints in image pixels.

    A joint that scores under `threshold`, is marked as not labelled or is not finite is left out, with its limbs. A
    picture whose longer side is under `least` px is enlarged by a whole number first (0: never).
    """
    canvas, factor = enlarged(to_uint8(image), least)
    people = poses.numpy()
    if len(people) and people.keypoints.shape[1] != len(skeleton):
        raise MismatchError(
            f'the poses have {people.keypoints.shape[1]} joints but skeleton {skeleton.name!r} has {len(skeleton)}; '
            f'draw them with the skeleton that they were predicted with'
        )
    sides = joint_sides(skeleton)
    for n in range(len(people)):
        points = scaled(np.asarray(people.keypoints[n], dtype=float), factor)
        width = thickness(points[drawn := shown(people, n, threshold)], canvas)
        _draw_person(canvas, points, drawn, skeleton, sides, width)
    for box in [] if people.boxes is None else people.boxes:
        low, high = scaled(np.asarray(box, dtype=float).reshape(2, 2), factor)
        cv2.rectangle(canvas, int_point(low), int_point(high), TEXT, 1, cv2.LINE_AA, SHIFT)
    return canvas


def _draw_person(
    canvas: np.ndarray, points: np.ndarray, drawn: np.ndarray, skeleton: Skeleton, sides: list[str], width: int
) -> None:
    """One person, points (K, 2) in pixels of the canvas: a dark edge under everything, limbs, then joints."""
    limbs = [(a, b) for a, b in skeleton.limb_indices if drawn[a] and drawn[b]]
    radius = max(2, round(0.9 * width))
    for a, b in limbs:
        _line(canvas, points[a], points[b], EDGE, width + 2)
    for a, b in limbs:
        _line(canvas, points[a], points[b], SIDES[limb_side(sides[a], sides[b])], width)
    for k in np.flatnonzero(drawn):
        _dot(canvas, points[k], EDGE, radius + 1)
        _dot(canvas, points[k], SIDES[sides[k]], radius)


def shown(people: Poses, person: int, threshold: float) -> np.ndarray:
    """(K,) which joints of a person are drawn."""
    known = np.isfinite(np.asarray(people.keypoints[person])).all(axis=-1)
    known &= np.asarray(people.scores[person]) >= threshold
    return known if people.visibility is None else known & (np.asarray(people.visibility[person]) > 0)


def thickness(points: np.ndarray, canvas: np.ndarray) -> int:
    """Width of a limb in px: a fiftieth of the person's larger extent, whatever part of the person is there."""
    extent = float(np.ptp(points, axis=0).max()) if len(points) > 1 else 0.0
    reference = extent or 0.3 * max(canvas.shape[:2])
    return int(np.clip(round(reference / 50), 1, 16))


def joint_sides(skeleton: Skeleton) -> list[str]:
    """(K,) 'left', 'right' or 'middle' for every joint: swapped joints have a side, the others none.

    Which of a pair is the left one is read from its name; without a hint the first of a pair is called left.
    """
    sides = ['middle'] * len(skeleton)
    for a, b in skeleton.swaps:
        first_is_right = _named(a, 'right') or _named(b, 'left')
        left, right = (b, a) if first_is_right else (a, b)
        sides[skeleton.index(left)], sides[skeleton.index(right)] = 'left', 'right'
    return sides


def _named(joint: str, side: str) -> bool:
    """Whether a name holds 'left' or 'right' (or its first letter) as a word of its own."""
    words = re.split(r'[^a-z]+', joint.lower())
    return side in words or side[0] in words or joint.lower().startswith(side)


def limb_side(a: str, b: str) -> str:
    """The side of a limb from those of its ends: a limb across the body has none."""
    if a == b:
        return a
    return {frozenset(('left', 'middle')): 'left', frozenset(('right', 'middle')): 'right'}.get(
        frozenset((a, b)), 'middle'
    )


def contact_sheet(
    images: Sequence[np.ndarray],
    columns: int = 8,
    captions: Sequence[str] | None = None,
    cell: tuple[int, int] | None = None,
) -> np.ndarray:
    """Pictures in rows of `columns`, each as large as its cell (width, height) allows, captions below.

    Without `cell` the cells are as large as the largest picture, but at most 320 px wide and high.
    """
    if not images:
        raise ImageError('a contact sheet needs at least one picture; none was given')
    if captions is not None and len(captions) != len(images):
        raise ImageError(f'{len(images)} pictures have {len(captions)} captions; give one caption a picture')
    columns = max(1, min(columns, len(images)))
    width, height = cell or (min(320, max(i.shape[1] for i in images)), min(320, max(i.shape[0] for i in images)))
    below, gap = (CAPTION if captions else 0), 4
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + below + gap) + gap, columns * (width + gap) + gap, 3), SHEET, np.uint8)
    for i, image in enumerate(images):
        x, y = gap + (i % columns) * (width + gap), gap + (i // columns) * (height + below + gap)
        sheet[y : y + height, x : x + width] = fitted(image, (width, height))
        if captions:
            write(sheet[y + height : y + height + below, x : x + width], captions[i])
    return sheet


def fitted(image: np.ndarray, size: tuple[int, int], fill: Color = SHEET) -> np.ndarray:
    """A picture in the middle of a canvas of `size` (width, height), its aspect ratio kept."""
    image = to_uint8(image)
    factor = min(size[0] / image.shape[1], size[1] / image.shape[0])
    width, height = (max(1, min(n, round(m * factor))) for n, m in zip(size, image.shape[1::-1], strict=True))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    canvas = np.full((size[1], size[0], 3), fill, np.uint8)
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    canvas[y : y + height, x : x + width] = small
    return canvas


def write(strip: np.ndarray, text: str, color: Color = TEXT, scale: float = 0.42) -> None:
    """One line of text into a strip (h, w, 3), in place; what does not fit is cut, and shown as cut."""
    font = cv2.FONT_HERSHEY_SIMPLEX

    def wide(t: str) -> int:
        return cv2.getTextSize(t, font, scale, 1)[0][0]

    short = text
    while short and wide(short if short == text else short + '..') > strip.shape[1] - 4:
        short = short[:-1]
    line = short if short == text else short + '..'
    cv2.putText(strip, line, (2, strip.shape[0] - 6), font, scale, color, 1, cv2.LINE_AA)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Any picture as contiguous (H, W, 3) bytes of its own: grey becomes BGR, an alpha channel goes.

    Floats up to 1 are shares of 255, other numbers are clipped to 0..255.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or min(image.shape[:2]) < 1:
        raise ImageError(f'a picture is (H, W), (H, W, 3) or (H, W, 4); got an array of shape {image.shape}')
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    if image.dtype == np.bool_:
        image = image * 255
    elif image.dtype != np.uint8:
        image = np.nan_to_num(image.astype(float), posinf=255, neginf=0)
        image = np.clip(image * 255 if image.max() <= 1 else image, 0, 255).round()
    return np.array(image, dtype=np.uint8, order='C')


def enlarged(image: np.ndarray, least: int) -> tuple[np.ndarray, int]:
    """A picture enlarged by the smallest whole number that brings its longer side to `least` px, and that number."""
    factor = max(1, math.ceil(least / max(image.shape[:2])))
    if factor == 1:
        return image, 1
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), factor


def scaled(points: np.ndarray, factor: float) -> np.ndarray:
    """Points (..., 2) of a picture in pixels of the picture enlarged by `factor`: pixel centres sit on integers."""
    return (points + 0.5) * factor - 0.5


def int_point(point: np.ndarray) -> tuple[int, int]:
    """A point in px as OpenCV wants it: Python integers, in sixteenths of a pixel."""
    x, y = np.clip(point, -FAR, FAR)
    return round(float(x) * (1 << SHIFT)), round(float(y) * (1 << SHIFT))


def _line(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, color: Color, width: int) -> None:
    cv2.line(canvas, int_point(a), int_point(b), color, width, cv2.LINE_AA, SHIFT)


def _dot(canvas: np.ndarray, point: np.ndarray, color: Color, radius: float) -> None:
    cv2.circle(canvas, int_point(point), round(radius * (1 << SHIFT)), color, cv2.FILLED, cv2.LINE_AA, SHIFT)
