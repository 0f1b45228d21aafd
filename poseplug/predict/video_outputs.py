"""The output files of a video: a line per frame, a table, and the drawn video."""

from __future__ import annotations

__all__ = ['Clip', 'FrameBoxes', 'VideoOutputs', 'build_video_header']

import csv
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.poses import Poses
from poseplug.files.animations import AnimationReader
from poseplug.files.jsonable import to_json_text
from poseplug.files.live_stream import LiveStream
from poseplug.files.video_decoding import VideoFrame
from poseplug.files.video_reader import VideoReader, format_ranges
from poseplug.predict.pose_predictor import PosePredictor
from poseplug.predict.prediction_options import PredictionOptions
from poseplug.predict.result_files import PartialTextFile
from poseplug.predict.result_records import build_result_header
from poseplug.predict.resuming import FinishedFrames
from poseplug.predict.tracking import InstanceGeometry
from poseplug.predict.video_writer import VideoWriter
from poseplug.report.draw import draw_label_text, draw_poses, scale_points

FrameBoxes = Mapping[int, Any]  # index of a frame to its boxes (N, 4)
Clip = VideoReader | AnimationReader | LiveStream
_KEYPOINT_COLUMNS = ('keypoint', 'x', 'y', 'score')  # columns that are keys of `Poses.to_rows`
_CSV_COLUMNS = ('frame', 'seconds', 'id', *_KEYPOINT_COLUMNS)


class VideoOutputs:
    """The output files of a video; they are renamed to their final names when all frames are in."""

    def __init__(
        self,
        predictor: PosePredictor,
        video: Clip,
        base: Path,
        title: str,
        first_frame: VideoFrame,
        has_boxes: bool,
        options: PredictionOptions,
        finished: FinishedFrames,
    ):
        self.predictor, self.video, self.title, self.options = predictor, video, title, options
        self.draws_ids = predictor.finds_instances or has_boxes
        self.image_size = (first_frame.image.shape[1], first_frame.image.shape[0])
        self.num_frames, self.last_index, self.max_id = 0, -1, 0
        self.num_finished = finished.count
        # if the last file cannot be opened, those before are closed
        with ExitStack() as stack:
            file = base.with_name(f'{base.name}.jsonl')
            self.jsonl_file = stack.enter_context(PartialTextFile(file, appends=bool(finished.count)))
            self.csv_writer = self._open_csv_writer(stack, base) if options.save_csv else None
            self.video_writer = self._open_video_writer(stack, base, first_frame) if options.draw_video else None
            self.exit_stack = stack.pop_all()
        if not finished.count:
            self._write_line(self._build_header)

    def _open_csv_writer(self, stack: ExitStack, base: Path) -> csv.DictWriter[str]:
        file = stack.enter_context(PartialTextFile(base.with_name(f'{base.name}.csv')))
        writer = csv.DictWriter(file, _CSV_COLUMNS)
        writer.writeheader()
        return writer

    def _open_video_writer(self, stack: ExitStack, base: Path, first_frame: VideoFrame) -> VideoWriter:
        # only its size counts: small frames are enlarged for drawing
        drawn = self._draw_frame(first_frame, Poses.empty(len(self.predictor.skeleton)))
        drawn_base = base.with_name(f'{base.name}_pose')
        sound_source = self.video.path if self.video.has_sound else None
        return stack.enter_context(VideoWriter(drawn_base, drawn, sound_source, self.video.start_seconds))

    def __enter__(self) -> VideoOutputs:
        return self

    def __exit__(self, *failure: Any) -> None:
        self.exit_stack.__exit__(*failure)

    def add_frame(self, frame: VideoFrame, poses: Poses) -> None:
        """Write the next frame and its poses, which have ids."""
        seconds = round(frame.seconds, 6)
        content = {'index': frame.index, 'seconds': seconds, 'instances': poses.to_dicts()}
        width, height = frame.image.shape[1], frame.image.shape[0]
        # some streams change their size; the header has that of the first frame
        if (width, height) != self.image_size:
            content |= {'width': width, 'height': height}
        # lines of the run that was cut are in the file; the table and the video begin anew
        if self.num_frames >= self.num_finished:
            self._write_line(content)
        if self.csv_writer is not None:
            for row in poses.to_rows('', self.predictor.skeleton):
                instance_id = _get_instance_id(poses, row['instance'])
                frame_columns = {'frame': frame.index, 'seconds': seconds, 'id': instance_id}
                self.csv_writer.writerow(frame_columns | {name: row[name] for name in _KEYPOINT_COLUMNS})
        if self.video_writer is not None:
            self.video_writer.write_frame(frame.seconds, self._draw_frame(frame, poses))
        self.num_frames, self.last_index = self.num_frames + 1, frame.index
        # the ids are counted from 1, so that the highest is the number of instances
        self.max_id = max(self.max_id, *(_get_instance_id(poses, n) for n in range(len(poses))), 0)

    def _draw_frame(self, frame: VideoFrame, poses: Poses) -> np.ndarray:
        drawn = draw_poses(frame.image, poses, self.predictor.skeleton, self.options.threshold)
        if self.draws_ids:
            scale = drawn.shape[1] // frame.image.shape[1]  # small frames are enlarged by a whole number
            _draw_instance_ids(drawn, poses, scale, self.options.threshold)
        return drawn

    def _write_line(self, content: Mapping[str, Any]) -> None:
        self.jsonl_file.write(to_json_text(content) + '\n')

    @property
    def _build_header(self) -> dict[str, Any]:
        """The content of the first line."""
        return build_video_header(self.predictor, self.video, self.title, self.image_size, self.draws_ids, self.options)

    def warn_unused_boxes(self, boxes: FrameBoxes | None) -> None:
        """Log a warning that lists boxes of frames that do not exist."""
        last_index = max(self.last_index, self.video.num_frames - 1)
        unused = sorted(index for index in boxes or () if index > last_index)
        if unused:
            logging.getLogger('poseplug').warning(
                '%s: boxes of frames that it does not have: %s', self.title, format_ranges(unused)
            )

    def summarize_outputs(self) -> dict[str, Any]:
        """Summarize what was read and written; see `predict_video`."""
        stream_facts = {}
        if isinstance(self.video, LiveStream):
            stream_facts = {'num_dropped': self.video.num_dropped, 'num_reconnects': self.video.num_reconnects}
        return {
            'file': self.title,
            'num_frames': self.num_frames,
            **stream_facts,
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
    for n in np.flatnonzero(instances.areas > 0).tolist():
        corner = scale_points(instances.boxes[n, :2], scale)
        draw_label_text(canvas, str(_get_instance_id(poses, n)), corner)


def build_video_header(
    predictor: PosePredictor,
    clip: Clip,
    title: str,
    image_size: tuple[int, int],
    has_ids: bool,
    options: PredictionOptions,
) -> dict[str, Any]:
    """Build the first line of a video's results.

    Args:
        predictor: of the frames.
        clip: the video.
        title: what results call it.
        image_size: (width, height) of the first frame.
        has_ids: whether a tracker assigns ids.
        options: of the run.
    """
    width, height = image_size
    video_header = {
        'file': title,
        'width': width,
        'height': height,
        'fps': clip.fps,
        'frame_interval': options.frame_interval,
        'tracker': options.tracker if has_ids else None,
        'smoother': options.smoother,
    }
    return build_result_header(predictor) | video_header
