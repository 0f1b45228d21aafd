"""Values of YOLO-pose labels: a line of a label file, and the names and flips that a description states."""

from __future__ import annotations

__all__ = [
    'parse_yolo_line',
    'parse_yolo_values',
    'read_class_names',
    'read_flip_indices',
    'read_keypoint_names',
]

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError

_MAX_NORMALIZED = 1.01  # rounding may lead a little beyond 1; a larger number is in px
BOX_WIDTH = 5  # numbers of a line before the keypoints: class, x, y, width, height


def read_class_names(file: Path, names: Any, count: Any = None) -> dict[int, str]:
    """Read the names of the classes, a list or a mapping from numbers; without any they are called by their number.

    Args:
        file: for the message.
        names: as the file has them.
        count: the number of classes, where the file states it (`nc`).

    Raises:
        AnnotationError: they are neither.
    """
    if isinstance(names, list):
        return {i: str(name) for i, name in enumerate(names)}
    if names is None and type(count) is int:
        return {i: f'class_{i}' for i in range(count)}
    # Quoted in YAML, the numbers are text.
    if isinstance(names, dict) and names and all(str(key).isdecimal() for key in names):
        return {int(key): str(name) for key, name in names.items()}
    raise AnnotationError(f'{file}: names is a list of class names, or a mapping from numbers; found {names!r}')


def read_keypoint_names(file: Path, names: Any, count: int) -> list[str]:
    """Read the names of the keypoints; without any they are called by their number.

    Args:
        file: for the message.
        names: as the file has them, a list, lists by class, or None.
        count: number of keypoints.

    Raises:
        AnnotationError: they are other than `count` distinct names, or differ between classes.
    """
    if names is None:
        return [f'keypoint_{i}' for i in range(count)]
    if isinstance(names, dict):  # by class; the keypoints are those of all classes
        lists = list(names.values())
        if any(each != lists[0] for each in lists):
            raise AnnotationError(f'{file}: kpt_names are the same for every class; found {names!r}')
        names = lists[0] if lists else None
    if not isinstance(names, list) or len(names) != count or len(set(map(str, names))) != count:
        raise AnnotationError(f'{file}: kpt_names are {count} distinct names, as kpt_shape says; found {names!r}')
    return [str(name) for name in names]


def read_flip_indices(file: Path, indices: Any, count: int) -> list[int] | None:
    """Read flip_idx, which must exchange keypoints in pairs.

    Args:
        file: for the message.
        indices: as the file has them, or None.
        count: number of keypoints.

    Raises:
        AnnotationError: they are no permutation of pairs.
    """
    if indices is None:
        return None
    is_list = isinstance(indices, list) and all(type(i) is int for i in indices)
    is_order = is_list and sorted(indices) == list(range(count))
    if not is_order or any(indices[indices[i]] != i for i in range(count)):
        raise AnnotationError(
            f'{file}: flip_idx names for each of the {count} keypoints the one that it becomes in a flipped image, in '
            f'pairs; found {indices!r}'
        )
    return list(indices)


def parse_yolo_line(
    line: str, num_keypoints: int, num_values: int, size: tuple[int, int]
) -> tuple[int, list[float], np.ndarray] | str:
    """Parse a line of a label file.

    Args:
        line: the text.
        num_keypoints: of an instance.
        num_values: numbers per keypoint: x and y, or x, y and a flag.
        size: (width, height) of the image in px.

    Returns:
        The class, the box as x, y, width, height in px, and the keypoints (K, 3) in px with flags; or what is wrong.

    Example:
        >>> parse_yolo_line('0 0.5 0.5 0.2 0.4 0.25 0.5 2', 1, 3, (100, 50))[1]
        [40.0, 15.0, 20.0, 20.0]
        >>> parse_yolo_line('0 0.5 0.5', 1, 3, (100, 50))
        'with 3 numbers; 8 are expected'
    """
    return parse_yolo_values(line.split(), num_keypoints, num_values, size)


def parse_yolo_values(
    words: Sequence[Any], num_keypoints: int, num_values: int, size: tuple[int, int]
) -> tuple[int, list[float], np.ndarray] | str:
    """Parse the values of an instance, as words or numbers; arguments and result are those of `parse_yolo_line`.

    Example:
        >>> parse_yolo_values([0, 0.5, 0.5, 0.2, 0.4, 0.25, 0.5], 1, 2, (100, 50))[2].tolist()
        [[25.0, 25.0, 2.0]]
    """
    expected = BOX_WIDTH + num_keypoints * num_values
    if len(words) != expected:
        return f'with {len(words)} numbers; {expected} are expected'
    try:
        values = np.array([float(word) for word in words])
    except (TypeError, ValueError):
        return 'with a word that is no number'
    if not np.isfinite(values).all():
        return 'with a number that is not finite'
    if values[0] != int(values[0]) or values[0] < 0:
        return 'whose class is no whole number'
    table = values[BOX_WIDTH:].reshape(num_keypoints, num_values)
    # Without a flag, (0, 0) stands for a keypoint that is not labeled.
    flags = table[:, 2] if num_values == 3 else np.where((table != 0).any(axis=1), 2.0, 0.0)
    if not np.isin(flags, (0, 1, 2)).all():
        return 'with a flag other than 0, 1 or 2'
    # Positions of keypoints that are not labeled may be anything.
    labeled = table[flags > 0, :2]
    positions = [*values[1:BOX_WIDTH], *labeled.ravel()]
    if min(positions) < 1 - _MAX_NORMALIZED or max(positions) > _MAX_NORMALIZED:
        return 'with positions outside 0 to 1'
    width, height = size
    x, y, w, h = (values[1:BOX_WIDTH] * [width, height, width, height]).tolist()
    keypoints = np.concatenate([table[:, :2] * [width, height], flags[:, None]], axis=1)
    return int(values[0]), [x - w / 2, y - h / 2, w, h], keypoints
