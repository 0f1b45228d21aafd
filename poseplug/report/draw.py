"""Skeletons over images, and sheets of many images, drawn with OpenCV."""

from __future__ import annotations

__all__ = [
    'CAPTION_HEIGHT_PX',
    'EDGE_COLOR',
    'MIN_SIDE_PX',
    'SHEET_COLOR',
    'TEXT_COLOR',
    'draw_contact_sheet',
    'draw_instance_labels',
    'draw_label_text',
    'draw_poses',
    'draw_text_line',
    'enlarge_image',
    'letterbox_image',
    'limb_width_px',
    'scale_points',
    'to_uint8',
]

import math
from collections.abc import Sequence

import cv2
import numpy as np

from poseplug.core.errors import ImageError, MismatchError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.report.drawing_style import Color, DrawingStyle, Palette
from poseplug.report.strokes import draw_box, draw_dot, draw_line

EDGE_COLOR: Color = (20, 20, 20)
SHEET_COLOR: Color = (32, 32, 32)
TEXT_COLOR: Color = (225, 225, 225)
MIN_SIDE_PX = 480  # longer side from which on a skeleton looks crisp
CAPTION_HEIGHT_PX = 20  # below an image of a sheet
_SHEET_GAP_PX = 4
_MAX_CELL_PX = 320
_TEXT_SCALE_SIDE_PX = 900  # longer side of an image on which labels are written at OpenCV's font scale 1
_LIMBS_PER_EXTENT = 50  # widths of a limb that the larger extent of an instance holds


def draw_poses(
    image: np.ndarray,
    poses: Poses,
    skeleton: Skeleton,
    threshold: float = 0.0,
    min_side_px: int = MIN_SIDE_PX,
    style: DrawingStyle | None = None,
) -> np.ndarray:
    """Draw the skeletons of all instances, and their boxes if there are any, on a copy of an image.

    A keypoint is skipped, with its limbs, if it scores below `threshold`, is marked as not labeled or is not finite.

    Args:
        image: (H, W, 3), BGR.
        poses: Keypoints and boxes in pixels of the image.
        skeleton: The skeleton of the poses.
        threshold: Lowest score of a drawn keypoint.
        min_side_px: An image whose longer side is shorter is enlarged by a whole number first; 0 never enlarges.
        style: Colors, widths, boxes and labels; None for the default.

    Returns:
        (H', W', 3) uint8, BGR.

    Raises:
        MismatchError: The poses have another number of keypoints than the skeleton.

    Example:
        >>> from poseplug.skeletons.lsp import LSP
        >>> pose = np.linspace((5, 10), (60, 90), len(LSP))
        >>> poses = Poses(pose[None], np.ones((1, len(LSP))), np.ones(1))
        >>> draw_poses(np.zeros((100, 80, 3), np.uint8), poses, LSP).shape  # enlarged 5 times
        (500, 400, 3)
    """
    # small images are enlarged first, since lines thinner than a pixel are not crisp
    canvas, factor = enlarge_image(to_uint8(image), min_side_px)
    poses = poses.numpy()
    if len(poses) and poses.keypoints.shape[1] != len(skeleton):
        raise MismatchError(
            f'the poses have {poses.keypoints.shape[1]} keypoints but skeleton {skeleton.name!r} has {len(skeleton)}; '
            f'draw them with the skeleton that they were predicted with'
        )
    style = style or DrawingStyle()
    palette = Palette.from_skeleton(skeleton, style)
    for index in range(len(poses)):
        points = scale_points(np.asarray(poses.keypoints[index], dtype=float), factor)
        mask = _drawn_keypoint_mask(poses, index, threshold)
        width_px = max(1, round(style.width_factor * limb_width_px(points[mask], canvas)))
        colors = palette if style.coloring != 'instances' else palette.paint_instance(poses, index)
        _draw_instance(canvas, points, mask, skeleton, colors, width_px)
    for box in [] if poses.boxes is None or not style.draws_boxes else poses.boxes:
        draw_box(canvas, scale_points(np.asarray(box, dtype=float).reshape(2, 2), factor), TEXT_COLOR)
    if style.labels:
        draw_instance_labels(canvas, poses, factor, threshold, style.labels)
    return canvas


def _draw_instance(
    canvas: np.ndarray, points: np.ndarray, drawn_mask: np.ndarray, skeleton: Skeleton, colors: Palette, width_px: int
) -> None:
    """One instance, points (K, 2) in pixels of the canvas: dark edges below everything, then limbs, then keypoints."""
    limbs = [
        (a, b, color)
        for (a, b), color in zip(skeleton.limb_indices, colors.limbs, strict=True)
        if drawn_mask[a] and drawn_mask[b]
    ]
    radius = max(2, round(0.9 * width_px))
    # all edges first: an edge drawn later would cut through a limb below it
    for a, b, _ in limbs:
        draw_line(canvas, points[a], points[b], EDGE_COLOR, width_px + 2)
    for a, b, color in limbs:
        draw_line(canvas, points[a], points[b], color, width_px)
    for k in np.flatnonzero(drawn_mask).tolist():
        draw_dot(canvas, points[k], EDGE_COLOR, radius + 1)
        draw_dot(canvas, points[k], colors.keypoints[k], radius)


def draw_instance_labels(
    canvas: np.ndarray, poses: Poses, factor: float, threshold: float, labels: Sequence[str] = ('id',)
) -> None:
    """Write ids or scores above the boxes around the drawn keypoints, in place.

    Args:
        canvas: (H, W, 3) uint8.
        poses: N instances, in pixels of the image.
        factor: by which the canvas is larger than the image.
        threshold: lowest score of a drawn keypoint.
        labels: 'id', which instances without ids lack, and 'score'.
    """
    for n in range(len(poses)):
        mask = _drawn_keypoint_mask(poses, n, threshold)
        if not mask.any():
            continue
        values = {'id': '' if poses.ids is None else str(int(poses.ids[n])), 'score': f'{poses.instance_scores[n]:.2f}'}
        text = ' '.join(filter(None, (values[label] for label in labels)))
        corner = np.asarray(poses.keypoints[n], dtype=float)[mask].min(axis=0)
        draw_label_text(canvas, text, scale_points(corner, factor))


def draw_label_text(canvas: np.ndarray, text: str, corner: np.ndarray) -> None:
    """Write text above the upper left corner of an instance, in place, as large as suits the canvas.

    Args:
        canvas: (H, W, 3) uint8.
        text: such as an id.
        corner: (2,) in pixels of the canvas.
    """
    font_scale = max(canvas.shape[:2]) / _TEXT_SCALE_SIDE_PX
    top = round(24 * font_scale)  # so that the text of an instance at the upper border stays visible
    # An instance may begin far outside; its label stays visible, and within OpenCV's integers.
    x, y = np.clip(corner, 0, canvas.shape[1::-1])
    origin = (round(float(x)), max(round(float(y)) - 3, top))
    # a dark edge below the text, so that it is read on any background
    for color, width in ((EDGE_COLOR, 4), (TEXT_COLOR, 1)):
        thickness = max(1, round(width * font_scale))
        cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, font_scale, color, thickness, cv2.LINE_AA)


def _drawn_keypoint_mask(poses: Poses, instance_index: int, threshold: float) -> np.ndarray:
    """(K,) which keypoints of an instance are drawn."""
    mask = np.isfinite(np.asarray(poses.keypoints[instance_index])).all(axis=-1)
    mask &= np.asarray(poses.keypoint_scores[instance_index]) >= threshold
    return mask if poses.visibility is None else mask & (np.asarray(poses.visibility[instance_index]) > 0)


def limb_width_px(points: np.ndarray, canvas: np.ndarray) -> int:
    """Choose the width of limbs, a fiftieth of the instance's larger extent.

    Args:
        points: (M, 2) the drawn keypoints of one instance, in pixels.
        canvas: (H, W, 3) what is drawn on; its size counts where there is a single keypoint.

    Returns:
        1 to 16 pixels.
    """
    extent = float(np.ptp(points, axis=0).max()) if len(points) > 1 else 0.0
    # 0.3: a person who fills a third of the image, for a single keypoint or several at one position
    reference = extent or 0.3 * max(canvas.shape[:2])
    return int(np.clip(round(reference / _LIMBS_PER_EXTENT), 1, 16))


# --- sheets -----------------------------------------------------------------------------------------------------------


def draw_contact_sheet(
    images: Sequence[np.ndarray],
    columns: int = 8,
    captions: Sequence[str] | None = None,
    cell_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Draw images in rows, each as large as its cell allows, with captions below.

    Args:
        images: (H, W, 3) each, of any size.
        columns: Number of images in a row.
        captions: A line of text for each image.
        cell_size: (width, height) in pixels. By default a cell is as large as the largest image, but at most 320 px
            wide and high.

    Returns:
        (H', W', 3) uint8, BGR.

    Raises:
        ImageError: There is no image, or not one caption for each image.
    """
    if not images:
        raise ImageError('a contact sheet needs at least one image; none was given')
    if captions is not None and len(captions) != len(images):
        raise ImageError(f'{len(images)} images have {len(captions)} captions; give one caption for each image')
    columns = max(1, min(columns, len(images)))
    width, height = cell_size or _fit_cell_size(images)
    below, gap = (CAPTION_HEIGHT_PX if captions else 0), _SHEET_GAP_PX
    rows = -(-len(images) // columns)
    sheet_size = rows * (height + below + gap) + gap, columns * (width + gap) + gap
    sheet = np.full((*sheet_size, 3), SHEET_COLOR, np.uint8)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        x, y = gap + column * (width + gap), gap + row * (height + below + gap)
        sheet[y : y + height, x : x + width] = letterbox_image(image, (width, height))
        if captions:
            draw_text_line(sheet[y + height : y + height + below, x : x + width], captions[i])
    return sheet


def _fit_cell_size(images: Sequence[np.ndarray]) -> tuple[int, int]:
    """The (width, height) of the largest image, within a limit."""
    width, height = (max(image.shape[axis] for image in images) for axis in (1, 0))
    return min(_MAX_CELL_PX, width), min(_MAX_CELL_PX, height)


def letterbox_image(image: np.ndarray, size: tuple[int, int], fill_color: Color = SHEET_COLOR) -> np.ndarray:
    """Resize an image with its aspect ratio to the middle of a canvas.

    Args:
        image: (H, W), (H, W, 3) or (H, W, 4).
        size: (width, height) of the canvas in pixels.
        fill_color: BGR of the canvas beside the image.

    Returns:
        (height, width, 3) uint8.
    """
    image = to_uint8(image)
    factor = min(size[0] / image.shape[1], size[1] / image.shape[0])
    width, height = (max(1, min(n, round(m * factor))) for n, m in zip(size, image.shape[1::-1], strict=True))
    # the mean of areas reduces without aliasing, and does not interpolate when it enlarges
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    canvas = np.full((size[1], size[0], 3), fill_color, np.uint8)
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    canvas[y : y + height, x : x + width] = resized
    return canvas


def draw_side_by_side(drawings: Sequence[np.ndarray]) -> np.ndarray:
    """Draw images of one size side by side, no larger than pages show them.

    Args:
        drawings: (H, W, 3) uint8, one at least.

    Returns:
        (H', W', 3) uint8, with a gap between the images.

    Example:
        >>> draw_side_by_side([np.zeros((20, 10, 3), np.uint8)] * 2).shape
        (20, 24, 3)
    """
    height, width = drawings[0].shape[:2]
    factor = min(1.0, MIN_SIDE_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    gap = np.full((size[1], _SHEET_GAP_PX, 3), 128, np.uint8)
    panels = [part for drawing in drawings for part in (letterbox_image(drawing, size), gap)]
    return np.hstack(panels[:-1])


def draw_text_line(strip: np.ndarray, text: str, color: Color = TEXT_COLOR, font_scale: float = 0.42) -> None:
    """Write one line of text into a strip, in place; a text that does not fit is cut and ends in '..'.

    Args:
        strip: (h, w, 3) uint8.
        text: The line.
        color: BGR of the text.
        font_scale: OpenCV's factor of the font size.
    """
    font = cv2.FONT_HERSHEY_SIMPLEX

    def text_width_px(line: str) -> int:
        return cv2.getTextSize(line, font, font_scale, 1)[0][0]

    def shorten_text(length: int) -> str:
        return text if length == len(text) else text[:length] + '..'

    length = len(text)
    while length and text_width_px(shorten_text(length)) > strip.shape[1] - 4:
        length -= 1
    cv2.putText(strip, shorten_text(length), (2, strip.shape[0] - 6), font, font_scale, color, 1, cv2.LINE_AA)


# --- pixels and points ------------------------------------------------------------------------------------------------


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Convert any image to contiguous BGR bytes of its own.

    Gray becomes BGR and an alpha channel is dropped. Floats up to 1 are fractions of 255, other numbers are clipped to
    0 to 255.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Returns:
        (H, W, 3) uint8, a copy.

    Raises:
        ImageError: The array has another shape.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or min(image.shape[:2]) < 1:
        raise ImageError(f'an image is (H, W), (H, W, 3) or (H, W, 4); got an array of shape {image.shape}')
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    if image.dtype == np.bool_:
        image = image * 255
    elif image.dtype != np.uint8:
        image = np.nan_to_num(image.astype(float), posinf=255, neginf=0)
        # an image of integers 0 and 1 is a mask, and is drawn black and white, too
        image = np.clip(image * 255 if image.max() <= 1 else image, 0, 255).round()
    return np.array(image, dtype=np.uint8, order='C')


def enlarge_image(image: np.ndarray, min_side_px: int) -> tuple[np.ndarray, int]:
    """Enlarge an image by the smallest whole number that brings its longer side to `min_side_px`.

    Args:
        image: (H, W, 3) uint8.
        min_side_px: Wanted length of the longer side.

    Returns:
        The image, the same array if it is large enough, and the factor.
    """
    factor = max(1, math.ceil(min_side_px / max(image.shape[:2])))
    if factor == 1:
        return image, 1
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), factor


def scale_points(points: np.ndarray, factor: float) -> np.ndarray:
    """Convert points (..., 2) of an image to pixels of the image enlarged by `factor`; centers sit on integers."""
    return (points + 0.5) * factor - 0.5
