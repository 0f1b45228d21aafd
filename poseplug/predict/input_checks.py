"""Checks of all inputs of poseplug predict before the work starts."""

from __future__ import annotations

__all__ = ['check_inputs', 'check_options', 'raise_input_errors', 'track_many']

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poseplug.core.boxes import BoxFormat
from poseplug.core.errors import AnnotationError, ConfigError, ImageError, VideoError
from poseplug.core.progress import track_progress
from poseplug.files.images import read_image
from poseplug.files.stated_size import check_min_image_size
from poseplug.predict.box_checks import parse_boxes
from poseplug.predict.video import check_video, is_video

_MIN_IMAGES_FOR_PROGRESS = 20  # fewer images are predicted without a progress bar
_MAX_REPORTED_ERRORS = 5
_INPUT_ERRORS = (ImageError, VideoError, AnnotationError)


def check_options(files: Sequence[Path], draw_heatmaps: bool) -> None:
    """Refuse to draw the heatmaps of a video.

    Args:
        files: the images and videos.
        draw_heatmaps: whether heatmaps are to be drawn.

    Raises:
        ConfigError: heatmaps are to be drawn of a video.
    """
    for file in files:
        if draw_heatmaps and is_video(file):
            raise ConfigError(f'--heatmaps draws the heatmaps of images, but {file} is a video; leave one of them out')


def check_inputs(
    files: Sequence[Path],
    boxes: Sequence[Any] | None,
    box_format: BoxFormat,
    titles: Mapping[Path, str] | None = None,
) -> dict[Path, str]:
    """Open every input and check every box, so that all errors are known before the work starts.

    Args:
        files: the images and videos.
        boxes: of each file, as `parse_boxes_option` returns them.
        box_format: 'xywh' or 'xyxy'.
        titles: what messages call a file that was fetched, such as its address; None for the path of every file.

    Returns:
        What is wrong with each file that is missing or damaged, or whose boxes are impossible.
    """
    errors: dict[Path, str] = {}
    for index, path in enumerate(track_many(files, 'checking')):
        try:
            _check_input(path, None if boxes is None else boxes[index], box_format)
        except _INPUT_ERRORS as error:
            # a fetched file is gone with its folder, so that its path would say nothing
            text = str(error).replace(str(path), (titles or {}).get(path, str(path)))
            errors[path] = f'{type(error).__name__}: {text}'
    return errors


def raise_input_errors(errors: Mapping[Path, str], num_files: int) -> None:
    """Raise one error for all files that `check_inputs` found fault with.

    Args:
        errors: what is wrong, by file.
        num_files: number of all files, good ones too.

    Raises:
        ImageError, VideoError, AnnotationError: there is one; the message lists the first five.
    """
    if not errors:
        return
    # one error has one type: that of the first file, whose message also comes first
    name, _, first = next(iter(errors.values())).partition(': ')
    error_types = {error_type.__name__: error_type for error_type in _INPUT_ERRORS}
    others = [text.partition(': ')[2] for text in list(errors.values())[1:_MAX_REPORTED_ERRORS]]
    num_hidden = len(errors) - _MAX_REPORTED_ERRORS
    more = f'(and {num_hidden} more)' if num_hidden > 0 else ''
    hint = '--skip-bad predicts the other files' if len(errors) < num_files else ''
    raise error_types[name]('\n'.join(filter(None, [first, *others, more, hint])))


def _check_input(path: Path, boxes: Any, box_format: BoxFormat) -> None:
    """Open an image or the start of a video, and check its boxes."""
    if is_video(path):
        check_video(path, boxes, box_format)
        return
    image = read_image(path)
    size = (image.shape[1], image.shape[0])
    check_min_image_size(path, size)
    if boxes is not None:
        parse_boxes(boxes, box_format, size, str(path))


def track_many(items: Any, title: str, total: int | None = None) -> Any:
    """Show a progress bar if there are many items."""
    count = len(items) if total is None else total
    return track_progress(items, title, count, unit='image') if count >= _MIN_IMAGES_FOR_PROGRESS else items
