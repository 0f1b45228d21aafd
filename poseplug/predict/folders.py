"""Prediction of images and videos to a folder of drawings and results: what poseplug predict does."""

from __future__ import annotations

import csv
import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from poseplug.core.boxes import BoxFormat
from poseplug.core.errors import ConfigError, ImageError, PoseplugError, VideoError
from poseplug.core.poses import POSES_CSV_COLUMNS, Poses
from poseplug.files.animations import open_clip
from poseplug.files.images import read_image
from poseplug.files.live_stream import LiveStream
from poseplug.files.output_guard import InputGuard
from poseplug.predict.heatmap_sheets import check_drawable_heatmaps, draw_heatmap_sheets
from poseplug.predict.image_input import NamedImage
from poseplug.predict.input_checks import track_many
from poseplug.predict.input_files import InputListing, choose_output_names
from poseplug.predict.pose_predictor import PosePredictor
from poseplug.predict.prediction_options import PredictionOptions
from poseplug.predict.result_exports import check_result_formats, export_results, list_export_files
from poseplug.predict.result_files import RESULTS_STEM, PartialTextFile, ResultLines, check_earlier_results
from poseplug.predict.result_records import build_result_header
from poseplug.predict.resuming import FinishedLine, FinishedLines
from poseplug.predict.video import is_video, predict_clip
from poseplug.report.draw import draw_poses

_LOGGER = logging.getLogger('poseplug')
_JPEG_QUALITY = 92
_MAX_HELD_PIXELS = 2_000_000  # larger images are read again for their drawing, so that a batch of them fits in memory


class PredictionWriter:
    """Predicts images and videos and writes drawings and results to a folder, in a `with` block.

    Every result is in `results.jsonl.partial` as soon as it is known; at the end of the block, also after an error or
    Ctrl-C, `results.json` is made from it. The instances of a video are in a file of its own, which both name.

    Args:
        predictor: of the images and frames.
        listing: the images and videos.
        out: the output folder; it is created.
        options: how to predict and draw.
        draw_heatmaps: also draw the heatmaps of images, and the limb fields of a model that has them.
        guard: recognizes the inputs, of which none is overwritten; None: those of the listing.
        skip_bad: leave out files that cannot be read, and count them.
        resume: go on with a run that was cut, from the results in the folder.

    Attributes:
        file_counts: number of files written so far, by kind.
        num_done: number of images and videos whose results are written.
        skipped: what is wrong with each file that was left out.

    Raises:
        ConfigError: the folder or a file cannot be written, a result file would overwrite an input, or the options do
            not fit the model.
    """

    def __init__(
        self,
        predictor: PosePredictor,
        listing: InputListing,
        out: Path,
        options: PredictionOptions,
        draw_heatmaps: bool = False,
        guard: InputGuard | None = None,
        skip_bad: bool = False,
        resume: bool = False,
    ):
        self.predictor, self.listing, self.out, self.options = predictor, listing, out, options
        self.draw_heatmaps, self.skip_bad = draw_heatmaps, skip_bad
        if draw_heatmaps:
            check_drawable_heatmaps(predictor)
        guard = guard or InputGuard(listing.files)
        # all names are checked before the first file is written, so that no refused run leaves a folder half filled
        guard.check_outputs(out / f'{RESULTS_STEM}.{suffix}' for suffix in ('json', 'jsonl.partial', 'csv'))
        check_earlier_results(out, options.save_csv)
        self.names = dict(zip(listing.files, choose_output_names(listing, out, guard), strict=True))
        check_result_formats(options.formats)
        guard.check_outputs(list_export_files(options.formats, out, self.names.values()))
        self.file_counts: Counter[str] = Counter()
        self.num_done = 0
        self.skipped: dict[Path, str] = {}
        self.resume = resume
        # opened with the first row: a run of videos alone writes no table of images
        self._csv_file: PartialTextFile | None = None
        self._csv_writer: csv.DictWriter[str] | None = None
        header = build_result_header(predictor) | {'options': options.describe(predictor.detector)}
        self.finished: set[str] = set()
        finished = FinishedLines(out, header) if resume else ()
        self._add_finished(finished)
        self.lines = ResultLines(out, header, dict(listing.unread_counts), finished)

    def _add_finished(self, finished: Iterable[FinishedLine]) -> None:
        """Count what a run that was cut has finished, and write its rows of the table."""
        names = {self.listing.get_title(file): name for file, name in self.names.items()}
        for kind, content in finished:
            title = content['file']
            # Under another name its files could be those of another input of this run.
            if not _has_output_name(kind, content, names.get(title)):
                raise ConfigError(
                    f'{title} of the run that was cut is no input now, or its outputs in {self.out} have another name; '
                    f'give the same inputs in the same order, or run without --resume'
                )
            self.finished.add(title)
            self.num_done += 1
            self.file_counts['videos' if kind == 'videos' else 'skeletons'] += 1
            if kind == 'images':
                self._add_rows(title, Poses.from_dicts(content['instances'], len(self.predictor.skeleton)))

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # after an error, too: what was predicted is in results.json, which says that it is not complete
        self.lines.close(is_complete=kind is None)
        self.file_counts['results.json'] = 1
        if self._csv_file is not None:
            self._csv_file.__exit__(None, None, None)
            self.file_counts['results.csv'] = 1
        # other forms are made of complete results only, since their readers do not see what is missing
        if kind is None:
            self._export_results()
        if kind is not None:
            _LOGGER.warning(
                'ended early: %d of %d inputs are in %s', self.num_done, len(self.names), self.lines.json_file
            )
        elif self.skipped:
            _LOGGER.warning(
                'skipped: %d of %d inputs; %s lists them', len(self.skipped), len(self.names), self.lines.json_file
            )

    def _export_results(self) -> None:
        """Write the complete results in the other forms that the options name."""
        if self.options.formats:
            names = {self.listing.get_title(file): name for file, name in self.names.items()}
            skeleton, threshold = self.predictor.skeleton, self.options.threshold
            for name in export_results(self.options.formats, self.out, skeleton, names, threshold):
                self.file_counts[name] = 1

    def process_files(self, files: Sequence[Path], boxes: Sequence[Any] | None) -> Iterator[str]:
        """Predict and draw every image, then every video.

        Args:
            files: images and videos of the listing.
            boxes: of each file, as `parse_boxes_option` returns them.

        Yields:
            One line of text per file.

        Raises:
            ImageError, VideoError: a file cannot be read any more, and bad ones are not skipped.
        """
        boxes_by_file = {} if boxes is None else dict(zip(files, boxes, strict=True))
        # images first, since they share batches
        images, videos = ([file for file in files if is_video(file) == kind] for kind in (False, True))
        images, videos = (list(filter(self._is_open, several)) for several in (images, videos))
        if self.finished:
            yield f'{len(self.finished)} of {len(self.names)} inputs are finished; going on with the others'
        yield from self._process_images(images, boxes_by_file)
        for file in videos:
            try:
                yield self._process_video(file, boxes_by_file.get(file))
            except VideoError as error:
                if not self.skip_bad:
                    raise
                self.skip_file(file, f'VideoError: {error}')

    def _is_open(self, file: Path) -> bool:
        """Whether a file is neither skipped nor finished."""
        return file not in self.skipped and self.listing.get_title(file) not in self.finished

    def skip_file(self, file: Path, reason: str) -> None:
        """Skip a file, with a warning and a line in the results."""
        _LOGGER.warning('skipped: %s', reason)
        self.skipped[file] = reason
        self.lines.add_skipped(self.listing.get_title(file), reason)

    def _process_images(self, files: Sequence[Path], boxes_by_file: Mapping[Path, Any]) -> Iterator[str]:
        reader = _ImageReader(self, files, boxes_by_file)
        stream = self.predictor.stream_pairs(reader.read_pairs(), self.options.batch_size, self.options.box_format)
        for poses in track_many(stream, 'predicting', len(files)):
            file, image = reader.pop_image()
            outputs = self._draw_image(file, image, poses, boxes_by_file.get(file))
            self._add_image_result(file, image, poses, outputs)
            scores = ', '.join(f'{score:.3f}' for score in poses.instance_scores) or 'no instances'
            drawing = outputs['skeletons'] or 'not drawn'
            yield f'{self.listing.get_title(file)}: {drawing}, score {scores}'
        # after the images that were read before it
        if reader.error is not None:
            raise reader.error

    def _draw_image(self, file: Path, image: np.ndarray, poses: Poses, boxes: Any) -> dict[str, Any]:
        """Draw an image and, if asked for, its heatmaps; returns the names of the files by kind."""
        name = self.names[file]
        drawn = draw_poses(image, poses, self.predictor.skeleton, self.options.threshold)
        outputs: dict[str, Any] = {'skeletons': self._save_image(name, drawn, 'skeletons')}
        if self.draw_heatmaps:
            outputs |= self._save_heatmaps(name, image, *self._select_heatmap_boxes(poses, boxes))
        return outputs

    def _process_video(self, file: Path, boxes: Any) -> str:
        base = self.out / self.names[file]
        base.parent.mkdir(parents=True, exist_ok=True)
        summary = predict_clip(
            self.predictor, open_clip(file), base, self.listing.get_title(file), boxes, self.options, self.resume
        )
        return self._add_video_result(summary)

    def process_stream(self, stream: LiveStream) -> str:
        """Predict a live stream to its end.

        Args:
            stream: whose `name` its files have.

        Returns:
            A line of text.

        Raises:
            VideoError: the stream cannot be opened, or ends before its first frame.
        """
        summary = predict_clip(self.predictor, stream, self.out / stream.name, stream.title, None, self.options)
        return self._add_video_result(summary)

    def _add_video_result(self, summary: Mapping[str, Any]) -> str:
        self.lines.add_video(summary)
        self.num_done += 1
        self.file_counts['videos'] += 1
        files = summary['results'] if summary['video'] is None else f'{summary["video"]["file"]}, {summary["results"]}'
        return f'{summary["file"]}: {files}, {summary["num_frames"]} frames, instances: {summary["num_instances"]}'

    def _select_heatmap_boxes(self, poses: Poses, boxes: Any) -> tuple[Any, BoxFormat]:
        """The boxes whose heatmaps are drawn, those of the detector without others, and their format."""
        if boxes is None and self.predictor.detector is not None:
            return [] if poses.boxes is None else poses.boxes, 'xyxy'
        return boxes, self.options.box_format

    def _save_heatmaps(self, name: str, image: np.ndarray, boxes: Any, box_format: BoxFormat) -> dict[str, list[str]]:
        """Draw the heatmaps, and limb fields if there are any, of every box or of the whole image."""
        outputs: dict[str, list[str]] = {'heatmaps': []}
        for n, box in enumerate([None] if boxes is None else boxes):
            number = '' if boxes is None or len(boxes) == 1 else f'_{n + 1}'
            for kind, sheet in draw_heatmap_sheets(self.predictor, image, box, box_format).items():
                if file_name := self._save_image(name, sheet, kind, f'_{kind}{number}'):
                    outputs.setdefault(kind, []).append(file_name)
        return outputs

    def _save_image(self, name: str, image: np.ndarray, kind: str, suffix: str = '_pose') -> str | None:
        """Write a drawing; returns its name, or None for one that no JPEG file can hold."""
        file_name = f'{name}{suffix}.jpg'
        file = self.out / file_name
        try:
            # encoded in memory, since `cv2.imwrite` says of a full disk only that nothing was written
            is_encoded, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        except cv2.error:  # a side of more than 65,535 px
            is_encoded = False
        if not is_encoded:
            _LOGGER.warning('%s: not drawn, a JPEG file cannot have %d x %d px', file, image.shape[1], image.shape[0])
            return None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data.tobytes())
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f'{file}: {reason}; name another folder for --out') from error
        self.file_counts[kind] += 1
        return file_name

    def _add_image_result(self, file: Path, image: np.ndarray, poses: Poses, outputs: Mapping[str, Any]) -> None:
        self.lines.add_image(self.listing.get_title(file), (image.shape[1], image.shape[0]), poses, outputs)
        self.num_done += 1
        self._add_rows(self.listing.get_title(file), poses)

    def _add_rows(self, title: str, poses: Poses) -> None:
        if self.options.save_csv:
            if self._csv_writer is None:
                self._csv_file = PartialTextFile(self.out / f'{RESULTS_STEM}.csv')
                self._csv_writer = csv.DictWriter(self._csv_file, POSES_CSV_COLUMNS)
                self._csv_writer.writeheader()
            self._csv_writer.writerows(poses.to_rows(title, self.predictor.skeleton))

    def describe_outputs(self) -> list[str]:
        """Describe what was written, such as ['2 skeletons', '1 video', 'results.json']."""
        return [
            kind if kind.startswith('results') or kind.endswith('/') else _count_noun(count, kind)
            for kind, count in self.file_counts.items()
        ]


class _ImageReader:
    """Reads the images to predict, and keeps each until its result is drawn on it; a bad image ends the reading.

    What was read before it is predicted all the same, so that the error costs no other result.
    """

    def __init__(self, writer: PredictionWriter, files: Iterable[Path], boxes_by_file: Mapping[Path, Any]):
        self.writer, self.files, self.boxes_by_file = writer, files, boxes_by_file
        self.pending: deque[tuple[Path, np.ndarray | None]] = deque()
        self.error: PoseplugError | None = None

    def read_pairs(self) -> Iterator[tuple[NamedImage, Any]]:
        """Yield every image that can be read, and its boxes."""
        for file in self.files:
            try:
                image = read_image(file)
            except ImageError as error:
                if not self.writer.skip_bad:
                    self.error = error
                    return
                self.writer.skip_file(file, f'ImageError: {error}')
                continue
            is_held = image.shape[0] * image.shape[1] <= _MAX_HELD_PIXELS
            self.pending.append((file, image if is_held else None))
            yield NamedImage(file, image), self.boxes_by_file.get(file)

    def pop_image(self) -> tuple[Path, np.ndarray]:
        """Return path and pixels of the image whose result comes next."""
        file, image = self.pending.popleft()
        return file, read_image(file) if image is None else image


def _has_output_name(kind: str, content: Mapping[str, Any], name: str | None) -> bool:
    """Whether the outputs of a finished line have the name that they would have now."""
    if name is None:
        return False
    if kind == 'videos':
        # a video's name has no folder in its results, an image's has
        return bool(content['results'] == f'{Path(name).name}.jsonl')
    # None: an image that no JPEG file can hold was not drawn
    return content['outputs']['skeletons'] in (f'{name}_pose.jpg', None)


def _count_noun(count: int, plural: str) -> str:
    noun = plural if count > 1 else plural.removesuffix('s')
    return f'{count} {noun}'
