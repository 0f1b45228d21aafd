"""Prediction of videos, frame by frame: memory holds one batch of frames, however long the video is."""

from __future__ import annotations

__all__ = [
    'FrameBoxes',
    'FramePoses',
    'PredictionOptions',
    'build_smoother',
    'build_tracker',
    'check_video',
    'is_video',
    'predict_video',
    'select_frames',
    'track_frames',
]

import csv
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.core.boxes import BoxFormat
from poseplug.core.poses import Poses
from poseplug.core.progress import track_progress
from poseplug.core.setting_checks import check_counts, check_probabilities
from poseplug.core.skeleton import Skeleton
from poseplug.files.animations import AnimationReader, is_animation, open_clip
from poseplug.files.jsonable import to_json_values
from poseplug.files.video_decoding import VideoFrame
from poseplug.files.video_reader import VIDEO_SUFFIXES, VideoReader, format_ranges
from poseplug.predict.box_checks import parse_boxes
from poseplug.predict.keypoint_boxes import follow_frames
from poseplug.predict.pose_predictor import PosePredictor
from poseplug.predict.result_files import PartialTextFile
from poseplug.predict.result_records import build_result_header
from poseplug.predict.smoothing import Smoother
from poseplug.predict.tracking import InstanceGeometry, Tracker
from poseplug.predict.video_writer import VideoWriter
from poseplug.registry import SMOOTHERS, TRACKERS
from poseplug.report.draw import EDGE_COLOR, TEXT_COLOR, draw_poses, scale_points

_KEYPOINT_COLUMNS = ('keypoint', 'x', 'y', 'score')  # columns that are keys of `Poses.to_rows`
_CSV_COLUMNS = ('frame', 'seconds', 'id', *_KEYPOINT_COLUMNS)
_MIN_FRAMES_FOR_PROGRESS = 20  # shorter videos are predicted without a progress bar
_TEXT_SCALE_SIDE_PX = 900  # longer side of an image on which ids are written at OpenCV's font scale 1

FrameBoxes = Mapping[int, Any]  # index of a frame to its boxes (N, 4)
FramePoses = tuple[VideoFrame, Poses]


@dataclass(frozen=True)
class PredictionOptions:
    """Options for predicting and drawing images and videos.

    Attributes:
        frame_interval: one of every so many frames of a video is predicted.
        tracker: config of the tracker, `dict(type=..., **settings)`.
        smoother: config of the smoother, `dict(type=..., **settings)`; None for no smoothing.
        draw_video: write a video with the drawn poses.
        save_csv: write a table of all keypoints.
        threshold: keypoints with a lower score are not drawn.
        detector_interval: a detector runs on one of every so many predicted frames; in between, boxes follow the poses.
        batch_size: instances that go through the network at once.
        box_format: 'xywh' or 'xyxy', of boxes that are given.
    """

    frame_interval: int = 1
    tracker: Mapping[str, Any] = field(default_factory=lambda: {'type': 'SimilarityTracker'})
    smoother: Mapping[str, Any] | None = None
    draw_video: bool = True
    save_csv: bool = False
    threshold: float = 0.05
    detector_interval: int = 1
    batch_size: int = 32
    box_format: BoxFormat = 'xywh'

    def __post_init__(self) -> None:
        check_counts('PredictionOptions', frame_interval=self.frame_interval, batch_size=self.batch_size)
        check_probabilities('PredictionOptions', threshold=self.threshold)


def is_video(file: Path) -> bool:
    """Whether a file is a video by its suffix, or an animated image.

    Example:
        >>> is_video(Path('walk.MP4'))
        True
    """
    return file.suffix.lower() in VIDEO_SUFFIXES or is_animation(file)


def check_video(file: Path, boxes: FrameBoxes | None, box_format: BoxFormat) -> None:
    """Decode a video's first frame and check all boxes, so that errors are reported before the work starts.

    Args:
        file: a video.
        boxes: (N, 4) by frame index, if any are given.
        box_format: 'xywh' or 'xyxy'.

    Raises:
        VideoError: the video cannot be read.
        AnnotationError: a box is impossible.
    """
    frame = next(iter(open_clip(file)))
    image_size = (frame.image.shape[1], frame.image.shape[0])
    for index, frame_boxes in (boxes or {}).items():
        parse_boxes(frame_boxes, box_format, image_size, f'{file}, frame {index}')


def predict_video(
    predictor: PosePredictor,
    file: Path,
    base: Path,
    boxes: FrameBoxes | None = None,
    options: PredictionOptions | None = None,
) -> dict[str, Any]:
    """Predict a video and write BASE.jsonl, and as the options say BASE_pose.mp4 and BASE.csv.

    Until it has finished the files have `.partial` in their names and hold all frames up to the current batch.

    Args:
        predictor: of the frames.
        file: the video.
        base: path of the output files without a suffix.
        boxes: (N, 4) by frame index, in `options.box_format`; a frame that is not listed has no instances.
        options: None for the defaults.

    Returns:
        A summary: `file`, `num_frames`, `missing_frames` and `damaged_frames` (`count` and `frames` of each),
        `num_instances` (the highest id), `results` (name of the .jsonl file) and `video` (`file`, `num_frames`,
        `num_resized`, `encoder` and `sound`; None without a drawn video).

    Raises:
        VideoError: the video cannot be read, or the drawn one not written.
        ConfigError: another file cannot be written.

    Example:
        >>> options = PredictionOptions(smoother=dict(type='OneEuroSmoother', beta=2))
        >>> predict_video(predictor, Path('walk.mp4'), Path('drawn/walk'), options=options)  # doctest: +SKIP
    """
    options, video = options or PredictionOptions(), open_clip(file)
    predictions = track_frames(predictor, select_frames(video, options.frame_interval), boxes, options)
    # The first frame is predicted before any file is opened: an error leaves nothing behind.
    first = next(predictions)
    outputs = _VideoOutputs(predictor, video, base, first[0], boxes is not None, options)
    num_declared = -(-video.declared_frames // options.frame_interval)
    with outputs:
        for frame, poses in _with_progress(chain([first], predictions), f'predicting {file.name}', num_declared):
            outputs.add_frame(frame, poses)
    outputs.warn_unused_boxes(boxes)
    return outputs.summarize_outputs()


def select_frames(frames: Iterable[VideoFrame], frame_interval: int) -> Iterator[VideoFrame]:
    """Select the first readable frame of every `frame_interval` frames."""
    next_index = 0
    for frame in frames:
        if frame.index >= next_index:
            next_index = (frame.index // frame_interval + 1) * frame_interval
            yield frame


def track_frames(
    predictor: PosePredictor, frames: Iterable[VideoFrame], boxes: FrameBoxes | None, options: PredictionOptions
) -> Iterator[FramePoses]:
    """Predict frames, assign ids and smooth; reads ahead by one batch.

    Args:
        predictor: of the frames.
        frames: in order.
        boxes: (N, 4) by frame index; None to predict without boxes.
        options: batch size, box format, tracker and smoother.

    Yields:
        Each frame and its poses with ids, in px of the frame.
    """
    has_many = predictor.finds_instances or boxes is not None
    identify: Callable[[Poses, float], Poses] = _assign_single_id
    if has_many:
        identify = build_tracker(options.tracker, predictor.skeleton)
    smooth = build_smoother(options.smoother) if options.smoother else None
    frames = iter(frames)
    if options.detector_interval > 1 and boxes is None and predictor.detector is not None:
        for frame, poses in follow_frames(predictor, frames, options.detector_interval, identify):
            yield frame, smooth(poses, frame.seconds) if smooth else poses
        return
    while batch := list(islice(frames, options.batch_size)):
        batch_boxes = None if boxes is None else [boxes.get(frame.index, []) for frame in batch]
        images = [frame.image for frame in batch]
        predictions = predictor.stream(images, batch_boxes, options.batch_size, options.box_format)
        for frame, frame_poses in zip(batch, predictions, strict=True):
            poses = identify(frame_poses.numpy(), frame.seconds)
            yield frame, smooth(poses, frame.seconds) if smooth else poses


def build_tracker(config: Mapping[str, Any], skeleton: Skeleton) -> Tracker:
    """Build a tracker from its config.

    Args:
        config: `dict(type=..., **settings)`.
        skeleton: of the instances.

    Raises:
        ConfigError: there is no such tracker, or a setting is wrong.
    """
    tracker: Tracker = TRACKERS.build(config, skeleton=skeleton)
    return tracker


def build_smoother(config: Mapping[str, Any]) -> Smoother:
    """Build a smoother from its config, `dict(type=..., **settings)`.

    Raises:
        ConfigError: there is no such smoother, or a setting is wrong.
    """
    smoother: Smoother = SMOOTHERS.build(config)
    return smoother


def _assign_single_id(poses: Poses, seconds: float) -> Poses:
    """Assign the id 1 to the one instance that a whole frame is."""
    return replace(poses, ids=np.ones(len(poses), dtype=int))


def _with_progress(frame_poses: Iterable[FramePoses], title: str, total: int) -> Iterable[FramePoses]:
    """Show a progress bar, unless the video declares that it is short."""
    is_short = 0 < total < _MIN_FRAMES_FOR_PROGRESS
    return frame_poses if is_short else track_progress(frame_poses, title, total, unit='frame')


class _VideoOutputs:
    """The output files of a video; they are renamed to their final names when all frames are in."""

    def __init__(
        self,
        predictor: PosePredictor,
        video: VideoReader | AnimationReader,
        base: Path,
        first_frame: VideoFrame,
        has_boxes: bool,
        options: PredictionOptions,
    ):
        self.predictor, self.video, self.options = predictor, video, options
        self.draws_ids = predictor.finds_instances or has_boxes
        self.image_size = (first_frame.image.shape[1], first_frame.image.shape[0])
        self.num_frames, self.last_index, self.max_id = 0, -1, 0
        with ExitStack() as stack:
            self.jsonl_file = stack.enter_context(PartialTextFile(base.with_name(f'{base.name}.jsonl')))
            self.csv_writer = self._open_csv_writer(stack, base) if options.save_csv else None
            self.video_writer = self._open_video_writer(stack, base, first_frame) if options.draw_video else None
            self.exit_stack = stack.pop_all()
        self._write_line(self._build_header())

    def _open_csv_writer(self, stack: ExitStack, base: Path) -> csv.DictWriter[str]:
        file = stack.enter_context(PartialTextFile(base.with_name(f'{base.name}.csv')))
        writer = csv.DictWriter(file, _CSV_COLUMNS)
        writer.writeheader()
        return writer

    def _open_video_writer(self, stack: ExitStack, base: Path, first_frame: VideoFrame) -> VideoWriter:
        drawn = self._draw_frame(first_frame, Poses.empty(len(self.predictor.skeleton)))
        drawn_base = base.with_name(f'{base.name}_pose')
        sound_source = self.video.path if self.video.has_sound else None
        return stack.enter_context(VideoWriter(drawn_base, drawn, sound_source, self.video.start_seconds))

    def __enter__(self) -> _VideoOutputs:
        return self

    def __exit__(self, *failure: Any) -> None:
        self.exit_stack.__exit__(*failure)

    def add_frame(self, frame: VideoFrame, poses: Poses) -> None:
        """Write the next frame and its poses, which have ids."""
        seconds = round(frame.seconds, 6)
        content = {'index': frame.index, 'seconds': seconds, 'instances': poses.to_dicts()}
        width, height = frame.image.shape[1], frame.image.shape[0]
        if (width, height) != self.image_size:
            content |= {'width': width, 'height': height}
        self._write_line(content)
        if self.csv_writer is not None:
            for row in poses.to_rows('', self.predictor.skeleton):
                instance_id = _get_instance_id(poses, row['instance'])
                frame_columns = {'frame': frame.index, 'seconds': seconds, 'id': instance_id}
                self.csv_writer.writerow(frame_columns | {name: row[name] for name in _KEYPOINT_COLUMNS})
        if self.video_writer is not None:
            self.video_writer.write_frame(frame.seconds, self._draw_frame(frame, poses))
        self.num_frames, self.last_index = self.num_frames + 1, frame.index
        self.max_id = max(self.max_id, *(_get_instance_id(poses, n) for n in range(len(poses))), 0)

    def _draw_frame(self, frame: VideoFrame, poses: Poses) -> np.ndarray:
        drawn = draw_poses(frame.image, poses, self.predictor.skeleton, self.options.threshold)
        if self.draws_ids:
            scale = drawn.shape[1] // frame.image.shape[1]  # small frames are enlarged by a whole number
            _draw_instance_ids(drawn, poses, scale, self.options.threshold)
        return drawn

    def _write_line(self, content: Mapping[str, Any]) -> None:
        self.jsonl_file.write(json.dumps(to_json_values(content)) + '\n')

    def _build_header(self) -> dict[str, Any]:
        """The content of the first line."""
        width, height = self.image_size
        video_header = {
            'file': str(self.video.path),
            'width': width,
            'height': height,
            'fps': self.video.fps,
            'frame_interval': self.options.frame_interval,
            'tracker': self.options.tracker if self.draws_ids else None,
            'smoother': self.options.smoother,
        }
        return build_result_header(self.predictor) | video_header

    def warn_unused_boxes(self, boxes: FrameBoxes | None) -> None:
        """Log a warning that lists boxes of frames that do not exist."""
        last_index = max(self.last_index, self.video.num_frames - 1)
        unused = sorted(index for index in boxes or () if index > last_index)
        if unused:
            logging.getLogger('poseplug').warning(
                '%s: boxes of frames that it does not have: %s', self.video.path, format_ranges(unused)
            )

    def summarize_outputs(self) -> dict[str, Any]:
        """What was read and written; see `predict_video`."""
        return {
            'file': str(self.video.path),
            'num_frames': self.num_frames,
            'missing_frames': _summarize_frames(self.video.missing_frames),
            'damaged_frames': _summarize_frames(self.video.damaged_frames),
            'num_instances': self.max_id,
            'results': self.jsonl_file.file.name,
            'video': None if self.video_writer is None else _summarize_video(self.video_writer),
        }


def _summarize_frames(indices: list[int]) -> dict[str, Any]:
    return {'count': len(indices), 'frames': format_ranges(indices) if indices else ''}


def _summarize_video(writer: VideoWriter) -> dict[str, Any]:
    return {
        'file': writer.file.name,
        'num_frames': writer.num_frames,
        'num_resized': writer.num_resized,
        'encoder': writer.encoder,
        'sound': writer.sound,
    }


def _get_instance_id(poses: Poses, index: int) -> int:
    """The id of one instance of a frame."""
    assert poses.ids is not None
    return int(poses.ids[index])


def _draw_instance_ids(canvas: np.ndarray, poses: Poses, scale: int, threshold: float) -> None:
    """Write every instance's id above its box on a frame that was enlarged by `scale`, in place."""
    instances = InstanceGeometry.from_poses(poses, threshold)
    font_scale = max(canvas.shape[:2]) / _TEXT_SCALE_SIDE_PX
    for n in np.flatnonzero(instances.areas > 0).tolist():
        # A box may begin far outside; its id stays visible, and within OpenCV's integers.
        x, y = np.clip(scale_points(instances.boxes[n, :2], scale), 0, canvas.shape[1::-1])
        text = str(_get_instance_id(poses, n))
        top = round(24 * font_scale)  # so that the text of an instance at the upper border stays visible
        origin = (round(float(x)), max(round(float(y)) - 3, top))
        for color, width in ((EDGE_COLOR, 4), (TEXT_COLOR, 1)):
            thickness = max(1, round(width * font_scale))
            cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, font_scale, color, thickness, cv2.LINE_AA)
