"""The boxes of poseplug predict: texts on the command line, or a JSON file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poseplug.core.errors import AnnotationError, suggest_closest
from poseplug.files.json_file import read_json
from poseplug.predict.video import is_video

_BOXES_FILE_FORMAT = 'a JSON file {image: [[x, y, w, h], ...], video: {"FRAME": [[x, y, w, h], ...]}}'


def parse_boxes_option(values: Sequence[str] | None, files: Sequence[Path]) -> list[Any] | None:
    """Parse the values of --boxes.

    Args:
        values: four numbers each, as text, for one image; or the path of one JSON file.
        files: the images and videos.

    Returns:
        For each image its boxes (N, 4), for each video a dict of boxes by frame index; None without values.

    Raises:
        AnnotationError: a value is malformed, or a file has no boxes.
    """
    if not values:
        return None
    if len(values) == 1 and values[0].lower().endswith('.json'):
        return _read_boxes_file(Path(values[0]), files)
    if len(files) != 1 or is_video(files[0]):
        actual = f'{len(files)} files' if len(files) != 1 else f'the video {files[0]}'
        raise AnnotationError(
            f'--boxes x,y,w,h are the instances of one image, but the input is {actual}; name {_BOXES_FILE_FORMAT}'
        )
    return [[parse_box_text(text) for text in values]]


def parse_box_text(text: str) -> list[float]:
    """Parse four numbers that are separated by commas.

    Raises:
        AnnotationError: the text is anything else.

    Example:
        >>> parse_box_text('12,8,96,180')
        [12.0, 8.0, 96.0, 180.0]
    """
    try:
        numbers = [float(number) for number in text.split(',')]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise AnnotationError(f'--boxes: {text!r} is not four numbers with commas between them, such as 12,8,96,180')
    return numbers


def _read_boxes_file(file: Path, files: Sequence[Path]) -> list[Any]:
    """The boxes of every image and video from a JSON file, by their path as given or by their name."""
    content = read_json(file)
    if not isinstance(content, dict):
        raise AnnotationError(f'{file} holds a {type(content).__name__}, not {_BOXES_FILE_FORMAT}')
    # names suffice while they are unique; `_check_box_keys` refuses two files of one name
    keys = [str(path) if str(path) in content else path.name for path in files]
    _check_box_keys(file, content, files, keys)
    boxes = []
    for path, key in zip(files, keys, strict=True):
        file_boxes = content[key]
        boxes.append(_parse_frame_boxes(file_boxes, f'{file}, {path.name}') if is_video(path) else file_boxes)
    return boxes


def _check_box_keys(file: Path, content: dict[str, Any], files: Sequence[Path], keys: Sequence[str]) -> None:
    """Check that every image and video has boxes of its own, and report boxes of other files."""
    paths_by_key: dict[str, Path] = {}
    for path, key in zip(files, keys, strict=True):
        if content.get(key) is None:
            hint = suggest_closest(path.name, content) or 'an empty list means no instances'
            raise AnnotationError(f'{file} has no boxes for {path.name}; {hint}')
        first_path = paths_by_key.setdefault(key, path)
        if first_path != path:
            raise AnnotationError(
                f'{file}: {key!r} is the name of {first_path} and of {path}; name them by their paths'
            )
    unused = [key for key in content if key not in paths_by_key]
    if unused:
        logging.getLogger('poseplug').warning(
            '%s: %d entries are of files that are not among the inputs, such as %r', file, len(unused), unused[0]
        )


def _parse_frame_boxes(frame_boxes: Any, name: str) -> dict[int, Any]:
    """The boxes of a video by frame index."""
    if frame_boxes == []:
        return {}
    if not isinstance(frame_boxes, dict) or not all(key.isdecimal() for key in frame_boxes):
        raise AnnotationError(f'{name}: the boxes of a video are {{"FRAME": [[x, y, w, h], ...]}}, frames from 0')
    boxes_by_index = {int(key): boxes for key, boxes in frame_boxes.items()}
    if len(boxes_by_index) < len(frame_boxes):
        raise AnnotationError(f'{name}: a frame is listed twice, with and without leading zeros; list every frame once')
    return boxes_by_index
