"""Prediction of images and videos from files and folders, with drawings and results: what poseplug predict does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.core.boxes import BoxFormat
from poseplug.core.errors import AnnotationError, ConfigError, ImageError, PoseplugError, VideoError, suggest_closest
from poseplug.core.poses import Poses, write_poses_csv
from poseplug.core.progress import track_progress
from poseplug.files.atomic import write_atomically
from poseplug.files.images import read_image
from poseplug.files.jsonable import to_json_values
from poseplug.predict.box_checks import parse_boxes
from poseplug.predict.predictor import Predictor
from poseplug.predict.result_records import build_result_header, make_names_unique
from poseplug.predict.video import VIDEO_SUFFIXES, PredictionOptions, check_video, is_video, predict_video
from poseplug.report.draw import draw_poses
from poseplug.report.heatmaps import draw_heatmap_strips
from poseplug.report.limb_fields import draw_grouping_sheet

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
_MIN_IMAGES_FOR_PROGRESS = 20  # fewer images are predicted without a progress bar
_MAX_REPORTED_ERRORS = 5
_JPEG_QUALITY = 92
_BOXES_FILE_FORMAT = 'a JSON file {image: [[x, y, w, h], ...], video: {"FRAME": [[x, y, w, h], ...]}}'


def split_arguments(inputs: Sequence[str]) -> tuple[tuple[str, str] | tuple[None, None], list[str]]:
    """Split a command's arguments into (config, checkpoint) and inputs.

    Args:
        inputs: the positional arguments; if the first one ends in .py, it is a config and the next its checkpoint.

    Raises:
        ConfigError: a config without a checkpoint or without an input.

    Example:
        >>> split_arguments(['cpm.py', 'cpm.pth', 'a.jpg'])
        (('cpm.py', 'cpm.pth'), ['a.jpg'])
        >>> split_arguments(['a.jpg', 'b.jpg'])
        ((None, None), ['a.jpg', 'b.jpg'])
    """
    if not inputs[0].endswith('.py'):
        return (None, None), list(inputs)
    if len(inputs) < 3:
        raise ConfigError(f'after the config {inputs[0]} come its checkpoint and at least one image or video')
    return (inputs[0], inputs[1]), list(inputs[2:])


def list_input_files(inputs: Sequence[str | Path], out: Path) -> list[Path]:
    """List images and videos, with folders replaced by the images and videos in them.

    Args:
        inputs: files and folders.
        out: the output folder, which must not be one of the inputs.

    Returns:
        Every file once, in the order of the inputs; those of a folder sorted.

    Raises:
        ImageError: a folder is the output folder, or holds no image or video.
    """
    files: list[Path] = []
    for path in map(Path, inputs):
        files += _list_folder(path, out) if path.is_dir() else [path]
    return list(dict.fromkeys(files))


def _list_folder(folder: Path, out: Path) -> list[Path]:
    if folder.resolve() == out.resolve():
        raise ImageError(f'{out} holds the images; name another folder for --out')
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES or is_video(file))
    if not files:
        raise ImageError(f'{folder} holds no image or video ({", ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)})')
    return files


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
    if len(values) == 1 and values[0].endswith('.json'):
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
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise AnnotationError(f'{file}: {error}; expected {_BOXES_FILE_FORMAT}') from error
    if not isinstance(content, dict):
        raise AnnotationError(f'{file} holds a {type(content).__name__}, not {_BOXES_FILE_FORMAT}')
    boxes = []
    for path in files:
        file_boxes = content.get(str(path), content.get(path.name))
        if file_boxes is None:
            hint = suggest_closest(path.name, content) or 'an empty list means no instances'
            raise AnnotationError(f'{file} has no boxes for {path.name}; {hint}')
        boxes.append(_parse_frame_boxes(file_boxes, f'{file}, {path.name}') if is_video(path) else file_boxes)
    return boxes


def _parse_frame_boxes(frame_boxes: Any, name: str) -> dict[int, Any]:
    """The boxes of a video by frame index."""
    if frame_boxes == []:
        return {}
    if not isinstance(frame_boxes, dict) or not all(key.isdecimal() for key in frame_boxes):
        raise AnnotationError(f'{name}: the boxes of a video are {{"FRAME": [[x, y, w, h], ...]}}, frames from 0')
    return {int(key): boxes for key, boxes in frame_boxes.items()}


def check_options(files: Sequence[Path], out: Path, draw_heatmaps: bool) -> None:
    """Refuse options that would overwrite an input or draw the heatmaps of a video.

    Args:
        files: the images and videos.
        out: the output folder.
        draw_heatmaps: whether heatmaps are to be drawn.

    Raises:
        ConfigError: an output would overwrite an input, or heatmaps are to be drawn of a video.
    """
    output_stems = {f'{file.stem}_pose' for file in files}
    for file in files:
        if file.stem in output_stems and file.resolve().parent == out.resolve():
            raise ConfigError(f'{file} would be overwritten; name another folder for --out than {out}')
        if draw_heatmaps and is_video(file):
            raise ConfigError(f'--heatmaps draws the heatmaps of images, but {file} is a video; leave one of them out')


def check_inputs(files: Sequence[Path], boxes: Sequence[Any] | None, box_format: BoxFormat) -> None:
    """Open every input and check every box, so that all errors are reported before the work starts.

    Args:
        files: the images and videos.
        boxes: of each file, as `parse_boxes_option` returns them.
        box_format: 'xywh' or 'xyxy'.

    Raises:
        ImageError, VideoError, AnnotationError: inputs are missing or damaged, or boxes impossible; the message lists
            the first five.
    """
    errors: list[PoseplugError] = []
    for index, path in enumerate(_with_progress(files, 'checking')):
        try:
            _check_input(path, None if boxes is None else boxes[index], box_format)
        except (ImageError, VideoError, AnnotationError) as error:
            errors.append(error)
    if errors:
        num_hidden = len(errors) - _MAX_REPORTED_ERRORS
        more = f'\n(and {num_hidden} more)' if num_hidden > 0 else ''
        raise type(errors[0])('\n'.join(map(str, errors[:_MAX_REPORTED_ERRORS])) + more)


def _check_input(path: Path, boxes: Any, box_format: BoxFormat) -> None:
    """Open an image or the start of a video, and check its boxes."""
    if is_video(path):
        check_video(path, boxes, box_format)
        return
    image = read_image(path)
    if boxes is not None:
        parse_boxes(boxes, box_format, (image.shape[1], image.shape[0]), str(path))


def _with_progress(items: Any, title: str, total: int | None = None) -> Any:
    """Show a progress bar if there are many items."""
    count = len(items) if total is None else total
    return track_progress(items, title, count, unit='image') if count >= _MIN_IMAGES_FOR_PROGRESS else items


class PredictionWriter:
    """Predicts images and videos and writes drawings and results to a folder.

    `results.json` has the instances of all images; those of a video are in a file of its own, which it names.

    Args:
        predictor: of the images and frames.
        out: the output folder; it is created.
        options: how to predict and draw.
        draw_heatmaps: also draw the heatmaps of images, and the limb fields of a model that has them.

    Attributes:
        file_counts: number of files written so far, by kind.

    Raises:
        ConfigError: the folder or a file cannot be written.
    """

    def __init__(self, predictor: Predictor, out: Path, options: PredictionOptions, draw_heatmaps: bool = False):
        self.predictor, self.out, self.options, self.draw_heatmaps = predictor, out, options, draw_heatmaps
        self.image_results: list[dict[str, Any]] = []
        self.video_results: list[dict[str, Any]] = []
        self.csv_rows: list[dict[str, Any]] = []
        self.file_counts: Counter[str] = Counter()
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f'{out}: {reason}; name another folder for --out') from error

    def process_files(self, files: Sequence[Path], boxes: Sequence[Any] | None) -> Iterator[str]:
        """Predict and draw every image, then every video.

        Args:
            files: the images and videos.
            boxes: of each file, as `parse_boxes_option` returns them.

        Yields:
            One line of text per file.
        """
        boxes_by_file = {} if boxes is None else dict(zip(files, boxes, strict=True))
        images, videos = ([file for file in files if is_video(file) == kind] for kind in (False, True))
        yield from self._process_images(images, None if boxes is None else [boxes_by_file[file] for file in images])
        # 'results' is taken by results.json: a video of that name gets another one.
        names = make_names_unique(['results', *(file.stem for file in videos)])[1:]
        for file, name in zip(videos, names, strict=True):
            yield self._process_video(file, name, boxes_by_file.get(file))

    def _process_images(self, files: Sequence[Path], boxes: list[Any] | None) -> Iterator[str]:
        options = self.options
        stream = self.predictor.stream(files, boxes, options.batch_size, options.box_format)
        names = make_names_unique([file.stem for file in files])
        for i, poses in enumerate(_with_progress(stream, 'predicting', len(files))):
            image = read_image(files[i])  # read again: the stream keeps one batch of images
            drawn = draw_poses(image, poses, self.predictor.skeleton, options.threshold)
            self._save_image(names[i], drawn, 'skeletons')
            if self.draw_heatmaps:
                image_boxes = None if boxes is None else boxes[i]
                self._save_heatmaps(names[i], image, *self._select_heatmap_boxes(poses, image_boxes))
            self._add_image_result(files[i], image, poses)
            scores = ', '.join(f'{score:.3f}' for score in poses.instance_scores) or 'no instances'
            yield f'{files[i]}: {self._image_file_name(names[i])}, score {scores}'

    def _process_video(self, file: Path, name: str, boxes: Any) -> str:
        summary = predict_video(self.predictor, file, self.out / name, boxes, self.options)
        self.video_results.append(summary)
        self.file_counts['videos'] += 1
        files = summary['results'] if summary['video'] is None else f'{summary["video"]["file"]}, {summary["results"]}'
        return f'{file}: {files}, {summary["num_frames"]} frames, instances: {summary["num_instances"]}'

    def _select_heatmap_boxes(self, poses: Poses, boxes: Any) -> tuple[Any, BoxFormat]:
        """The boxes whose heatmaps are drawn, those of the detector without others, and their format."""
        if boxes is None and self.predictor.detector is not None:
            return [] if poses.boxes is None else poses.boxes, 'xyxy'
        return boxes, self.options.box_format

    def _save_heatmaps(self, name: str, image: np.ndarray, boxes: Any, box_format: BoxFormat) -> None:
        """Draw the heatmaps, and limb fields if there are any, of every box or of the whole image."""
        for n, box in enumerate([None] if boxes is None else boxes):
            heatmap_stages = self.predictor.predict_heatmaps(image, box, box_format)
            number = '' if boxes is None or len(boxes) == 1 else f'_{n + 1}'
            self._save_image(name, draw_heatmap_strips(heatmap_stages), 'heatmaps', f'_heatmaps{number}')
            if heatmap_stages.limb_fields:
                sheet = draw_grouping_sheet(heatmap_stages, self.predictor.model.codec)
                self._save_image(name, sheet, 'limbs', f'_limbs{number}')

    def _image_file_name(self, name: str, suffix: str = '_pose') -> str:
        return f'{name}{suffix}.jpg'

    def _save_image(self, name: str, image: np.ndarray, kind: str, suffix: str = '_pose') -> None:
        success, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        file = self.out / self._image_file_name(name, suffix)
        if not success:
            raise ImageError(f'{file}: an image of {image.shape[1]}x{image.shape[0]} px cannot be written as JPEG')
        self._write_file(file, data.tobytes())
        self.file_counts[kind] += 1

    def _write_file(self, file: Path, data: bytes) -> None:
        try:
            file.write_bytes(data)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f'{file}: {reason}; name another folder for --out') from error

    def _add_image_result(self, file: Path, image: np.ndarray, poses: Poses) -> None:
        self.image_results.append(
            {
                'file': str(file),
                'width': image.shape[1],
                'height': image.shape[0],
                'instances': poses.to_dicts(),
            }
        )
        self.csv_rows += poses.to_rows(str(file), self.predictor.skeleton)

    def write_results(self) -> str:
        """Write results.json, and results.csv of the images if the options say so; returns the JSON."""
        header = build_result_header(self.predictor)
        content = header | {'images': self.image_results, 'videos': self.video_results}
        text = json.dumps(to_json_values(content), indent=1)
        write_atomically(self.out / 'results.json', f'{text}\n'.encode())
        self.file_counts['results.json'] = 1
        if self.options.save_csv and self.image_results:
            write_poses_csv(self.out / 'results.csv', self.csv_rows)
            self.file_counts['results.csv'] = 1
        return text

    def describe_outputs(self) -> list[str]:
        """What was written, such as ['2 skeletons', '1 video', 'results.json']."""
        return [
            kind if kind.startswith('results') else _count_noun(count, kind) for kind, count in self.file_counts.items()
        ]


def _count_noun(count: int, plural: str) -> str:
    noun = plural if count > 1 else plural.removesuffix('s')
    return f'{count} {noun}'
