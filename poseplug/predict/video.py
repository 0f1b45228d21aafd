"""Prediction of videos, frame by frame: memory holds one batch of frames, however long the video is."""

from __future__ import annotations

__all__ = [
    'FramePoses',
    'build_smoother',
    'build_tracker',
    'check_video',
    'is_video',
    'predict_clip',
    'predict_video',
    'select_frames',
    'track_frames',
]

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.boxes import BoxFormat
from poseplug.core.errors import VideoError
from poseplug.core.poses import Poses
from poseplug.core.progress import track_progress
from poseplug.core.skeleton import Skeleton
from poseplug.files.animations import ANIMATION_SUFFIXES, is_animation, open_clip
from poseplug.files.live_stream import LiveStream
from poseplug.files.video_decoding import VideoFrame
from poseplug.files.video_reader import VIDEO_SUFFIXES
from poseplug.predict.box_checks import parse_boxes
from poseplug.predict.keypoint_boxes import follow_frames
from poseplug.predict.pose_predictor import PosePredictor
from poseplug.predict.prediction_options import PredictionOptions
from poseplug.predict.resuming import FinishedFrames
from poseplug.predict.smoothing import Smoother
from poseplug.predict.tracking import Tracker
from poseplug.predict.video_outputs import Clip, FrameBoxes, VideoOutputs, build_video_header
from poseplug.registry import SMOOTHERS, TRACKERS

_MIN_FRAMES_FOR_PROGRESS = 20  # shorter videos are predicted without a progress bar

FramePoses = tuple[VideoFrame, Poses]


def is_video(file: Path) -> bool:
    """Whether a file is a video by its suffix, or an animated image.

    Example:
        >>> is_video(Path('walk.MP4'))
        True
    """
    suffix = file.suffix.lower()
    return suffix in VIDEO_SUFFIXES or (suffix in ANIMATION_SUFFIXES and is_animation(file))


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
    return predict_clip(predictor, open_clip(file), base, str(file), boxes, options)


def predict_clip(
    predictor: PosePredictor,
    clip: Clip,
    base: Path,
    title: str,
    boxes: FrameBoxes | None = None,
    options: PredictionOptions | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Predict an opened video or a live stream and write its files, as `predict_video` does.

    Args:
        predictor: of the frames.
        clip: the video, or the stream, whose frames are predicted one by one.
        base: path of the output files without a suffix.
        title: what results call the video.
        boxes: as for `predict_video`.
        options: None for the defaults.
        resume: go on behind the frames that BASE.jsonl.partial has. Smoothed videos, and those whose detector does not
            run on every frame, start anew: what their filters remember is not in the file.

    Returns:
        As `predict_video`; of a stream also `num_dropped` and `num_reconnects`.

    Raises:
        VideoError: the video cannot be read, has no frame, or the drawn one cannot be written.
        ConfigError: another file cannot be written.
    """
    options, is_live = options or PredictionOptions(), isinstance(clip, LiveStream)
    finished = FinishedFrames.empty()
    if resume and options.smoother is None and options.detector_interval == 1:
        finished = FinishedFrames(base.with_name(f'{base.name}.jsonl.partial'))
        has_ids = predictor.finds_instances or boxes is not None
        finished.check_header(_peek_header(predictor, clip, title, has_ids, options))
    frames = select_frames(clip, options.frame_interval)
    predictions = track_frames(predictor, frames, boxes, options, 1 if is_live else None, finished)
    # The first frame is predicted before any file is opened: an error leaves nothing behind.
    first = next(predictions, None)
    if first is None:
        raise VideoError(f'{title} ended before its first frame')
    outputs = VideoOutputs(predictor, clip, base, title, first[0], boxes is not None, options, finished)
    # rounded up, since the first frame of every interval is predicted
    num_declared = -(-clip.declared_frames // options.frame_interval)
    with outputs:
        for frame, poses in _with_progress(chain([first], predictions), f'predicting {Path(title).name}', num_declared):
            outputs.add_frame(frame, poses)
    outputs.warn_unused_boxes(boxes)
    return outputs.summarize_outputs()


def select_frames(frames: Iterable[VideoFrame], frame_interval: int) -> Iterator[VideoFrame]:
    """Select the first readable frame of every `frame_interval` frames."""
    next_index = 0
    for frame in frames:
        if frame.index >= next_index:
            # from the index and not from the count: unreadable frames do not shift the selection
            next_index = (frame.index // frame_interval + 1) * frame_interval
            yield frame


def track_frames(
    predictor: PosePredictor,
    frames: Iterable[VideoFrame],
    boxes: FrameBoxes | None,
    options: PredictionOptions,
    max_frames: int | None = None,
    finished: Iterable[Mapping[str, Any]] = (),
) -> Iterator[FramePoses]:
    """Predict frames, assign ids and smooth; reads ahead by one batch.

    Args:
        predictor: of the frames.
        frames: in order.
        boxes: (N, 4) by frame index; None to predict without boxes.
        options: batch size, box format, tracker and smoother.
        max_frames: of a batch; None for the batch size.
        finished: lines of the first frames, which were predicted before; the tracker follows them.

    Yields:
        Each frame and its poses with ids, in px of the frame.
    """
    # one instance that is the whole frame needs no tracker
    has_many = predictor.finds_instances or boxes is not None
    identify: Callable[[Poses, float], Poses] = _assign_single_id
    if has_many:
        identify = build_tracker(options.tracker, predictor.skeleton)
    smooth = build_smoother(options.smoother) if options.smoother else None
    frames = iter(frames)
    yield from _replay_frames(frames, finished, identify, len(predictor.skeleton))
    # boxes follow the poses frame by frame, so that no batch can be formed
    if options.detector_interval > 1 and boxes is None and predictor.detector is not None:
        for frame, poses in follow_frames(predictor, frames, options.detector_interval, identify):
            yield frame, smooth(poses, frame.seconds) if smooth else poses
        return
    while batch := list(islice(frames, max_frames or options.batch_size)):
        batch_boxes = None if boxes is None else [boxes.get(frame.index, []) for frame in batch]
        images = [frame.image for frame in batch]
        predictions = predictor.stream(images, batch_boxes, options.batch_size, options.box_format)
        for frame, frame_poses in zip(batch, predictions, strict=True):
            poses = identify(frame_poses.numpy(), frame.seconds)
            yield frame, smooth(poses, frame.seconds) if smooth else poses


def _peek_header(
    predictor: PosePredictor, clip: Clip, title: str, has_ids: bool, options: PredictionOptions
) -> dict[str, Any]:
    """The first line of the results of a video, whose first frame is decoded for it."""
    image = next(iter(clip)).image
    return build_video_header(predictor, clip, title, (image.shape[1], image.shape[0]), has_ids, options)


def _replay_frames(
    frames: Iterator[VideoFrame],
    finished: Iterable[Mapping[str, Any]],
    identify: Callable[[Poses, float], Poses],
    num_keypoints: int,
) -> Iterator[FramePoses]:
    """Yield frames with the poses that they have already, and let the tracker follow these."""
    for line in finished:
        frame = next(frames, None)
        poses = Poses.from_dicts(line['instances'], num_keypoints)
        is_same = frame is not None and frame.index == line['index']
        if frame is None or not is_same:
            raise VideoError(f'frame {line["index"]} of the run that was cut is another now; run without --resume')
        # the tracker has to be in the state of the run that was cut; the ids that it assigns prove that
        identified = identify(replace(poses, ids=None), frame.seconds)
        if len(poses) and not np.array_equal(np.asarray(identified.ids), np.asarray(poses.ids)):
            raise VideoError(
                f'frame {frame.index}: the ids of the run that was cut are others now; run without --resume'
            )
        yield frame, poses


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
