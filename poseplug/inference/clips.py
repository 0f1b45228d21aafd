"""Videos to drawings and results, frame after frame: memory holds one batch of frames, however long a video is."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from poseplug.engine.results import plain
from poseplug.errors import ConfigError
from poseplug.inference.film import Film
from poseplug.inference.predictor import BoxFormat, Predictor, corners
from poseplug.inference.records import heading, people_of
from poseplug.inference.smoothing import Smoother, Smoothing
from poseplug.inference.tracking import Bodies, Tracker
from poseplug.inference.video import Frame, Video, spans
from poseplug.poses import Poses
from poseplug.progress import track
from poseplug.visualization.draw import EDGE, TEXT, draw_poses, scaled

ENDINGS = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mjpg', '.mjpeg', '.mpg', '.mpeg', '.wmv')
COLUMNS = ('frame', 'seconds', 'id', 'joint', 'x', 'y', 'score')
MANY = 20  # frames from which a bar is shown

Boxes = Mapping[int, Any]  # a frame's number to its boxes (N, 4)
Seen = tuple[Frame, Poses]


@dataclass(frozen=True)
class Treatment:
    """What becomes of a video: of `every` so many frames one is predicted; joints are smoothed if `smoothing` says how.

    `draw` and `csv` ask for a drawn video and a table. Joints under `threshold` are not drawn.
    """

    every: int = 1
    smoothing: Smoothing | None = None
    draw: bool = True
    csv: bool = False
    threshold: float = 0.05
    batch_size: int = 32
    box_format: BoxFormat = 'xywh'


def is_video(file: Path) -> bool:
    """By the ending of its name."""
    return file.suffix.lower() in ENDINGS


def check_video(file: Path, boxes: Boxes | None, box_format: BoxFormat) -> None:
    """Open a video and decode a frame, and look at all boxes, so that errors are told before work starts."""
    frame = next(iter(Video(file)))
    for index, own in (boxes or {}).items():
        corners(own, box_format, (frame.pixels.shape[1], frame.pixels.shape[0]), f'{file}, frame {index}')


def write_clip(
    predictor: Predictor, file: Path, base: Path, boxes: Boxes | None = None, treatment: Treatment | None = None
) -> dict[str, Any]:
    """Predict a video and write BASE.jsonl, BASE_pose.mp4 and BASE.csv, as asked; returns an account of it.

    While the work goes on the files have `.partial` in their names, and hold all frames but for the batch at work.

    Args:
        boxes: people of the frames, as `treatment.box_format` says; in a frame that is not named there is nobody.

    Raises:
        VideoError: the video cannot be read, or its drawing not written.
    """
    treatment, video = treatment or Treatment(), Video(file)
    seen = followed(predictor, taken(video, treatment.every), boxes, treatment)
    first = next(seen)
    sinks = Sinks(predictor, video, base, first[0], boxes is not None, treatment)
    stated = -(-video.stated // treatment.every)
    with sinks:
        for frame, people in watched(chain([first], seen), f'predicting {file.name}', stated):
            sinks.add(frame, people)
    sinks.tell(boxes)
    return sinks.account()


def taken(frames: Iterable[Frame], every: int) -> Iterator[Frame]:
    """The first frame of every so many that can be read."""
    due = 0
    for frame in frames:
        if frame.index >= due:
            due = (frame.index // every + 1) * every
            yield frame


def followed(
    predictor: Predictor, frames: Iterable[Frame], boxes: Boxes | None, treatment: Treatment
) -> Iterator[Seen]:
    """Frames and their people, who have ids; reads ahead by one batch."""
    several = predictor.finds_people or boxes is not None
    identify: Callable[[Poses, float], Poses] = Tracker(predictor.skeleton) if several else the_one
    smooth = Smoother(treatment.smoothing) if treatment.smoothing else None
    frames = iter(frames)
    while group := list(islice(frames, treatment.batch_size)):
        given = None if boxes is None else [boxes.get(frame.index, []) for frame in group]
        stages = predictor.stream(
            [frame.pixels for frame in group], given, treatment.batch_size, box_format=treatment.box_format
        )
        for frame, found in zip(group, stages, strict=True):
            people = identify(found[-1].numpy(), frame.seconds)
            yield frame, smooth(people, frame.seconds) if smooth else people


def the_one(people: Poses, seconds: float) -> Poses:
    """The person that a whole frame is taken for has the id 1."""
    return replace(people, ids=np.ones(len(people), dtype=int))


def watched(seen: Iterable[Seen], title: str, total: int) -> Iterable[Seen]:
    """With a bar, unless the video says that it is short."""
    return seen if 0 < total < MANY else track(seen, title, total, unit='frame')


class Growing:
    """A text file that grows as FILE.partial, line by line, and gets its name when it is whole."""

    def __init__(self, file: Path):
        self.file, self.partial = file, file.with_name(f'{file.name}.partial')
        with self._told():
            self.stream = open(self.partial, 'w', newline='', buffering=1)  # noqa: SIM115 it outlives this call

    def write(self, text: str) -> None:
        with self._told():
            self.stream.write(text)

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._told():
            self.stream.close()
            if kind is None:
                self.partial.replace(self.file)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(f'{self.partial}: {error.strerror or error}; name another folder for --out') from error


class Sinks:
    """The files that a video's frames go to; they get their names when all frames are in."""

    def __init__(self, predictor: Predictor, video: Video, base: Path, first: Frame, boxed: bool, treatment: Treatment):
        self.predictor, self.video, self.treatment = predictor, video, treatment
        self.labelled = predictor.finds_people or boxed
        self.size = (first.pixels.shape[1], first.pixels.shape[0])
        self.frames, self.last, self.ids = 0, -1, 0
        with ExitStack() as stack:
            self.lines = stack.enter_context(Growing(base.with_name(f'{base.name}.jsonl')))
            self.table = self._table(stack, base) if treatment.csv else None
            self.film = self._film(stack, base, first) if treatment.draw else None
            self.stack = stack.pop_all()
        self._line(self._heading())

    def _table(self, stack: ExitStack, base: Path) -> csv.DictWriter[str]:
        writer = csv.DictWriter(stack.enter_context(Growing(base.with_name(f'{base.name}.csv'))), COLUMNS)
        writer.writeheader()
        return writer

    def _film(self, stack: ExitStack, base: Path, first: Frame) -> Film:
        like = self._drawn(first, Poses.nobody(len(self.predictor.skeleton)))
        return stack.enter_context(
            Film(base.with_name(f'{base.name}_pose'), self.video.fps / self.treatment.every, like)
        )

    def __enter__(self) -> Sinks:
        return self

    def __exit__(self, *failure: Any) -> None:
        self.stack.__exit__(*failure)

    def add(self, frame: Frame, people: Poses) -> None:
        """The next frame, and its people with ids."""
        seconds = round(frame.seconds, 6)
        content = {'index': frame.index, 'seconds': seconds, 'people': people_of(people)}
        size = (frame.pixels.shape[1], frame.pixels.shape[0])
        self._line(content if size == self.size else {**content, 'width': size[0], 'height': size[1]})
        if self.table is not None:
            for row in people.rows('', self.predictor.skeleton):
                own = {'frame': frame.index, 'seconds': seconds, 'id': people_id(people, row['person'])}
                self.table.writerow(own | {name: row[name] for name in COLUMNS[3:]})
        if self.film is not None:
            self.film.add(frame.index // self.treatment.every, self._drawn(frame, people))
        self.frames, self.last = self.frames + 1, frame.index
        self.ids = max(self.ids, *(people_id(people, n) for n in range(len(people))), 0)

    def _drawn(self, frame: Frame, people: Poses) -> np.ndarray:
        drawn = draw_poses(frame.pixels, people, self.predictor.skeleton, self.treatment.threshold)
        if self.labelled:
            label(drawn, people, drawn.shape[1] // frame.pixels.shape[1], self.treatment.threshold)
        return drawn

    def _line(self, content: Mapping[str, Any]) -> None:
        self.lines.write(json.dumps(plain(content)) + '\n')

    def _heading(self) -> dict[str, Any]:
        """What the first line says."""
        treatment = self.treatment
        return heading(self.predictor) | {
            'file': str(self.video.path),
            'width': self.size[0],
            'height': self.size[1],
            'fps': self.video.fps,
            'every': treatment.every,
            'smoothing': asdict(treatment.smoothing) if treatment.smoothing else None,
        }

    def tell(self, boxes: Boxes | None) -> None:
        """Warn of boxes that are of no frame."""
        beyond = sorted(n for n in boxes or () if n > max(self.last, self.video.stated - 1))
        if beyond:
            logging.getLogger('poseplug').warning(
                '%s: boxes of frames that it does not have: %s', self.video.path, spans(beyond)
            )

    def account(self) -> dict[str, Any]:
        """What was read and written."""
        film, missing = self.film, self.video.missing
        return {
            'file': str(self.video.path),
            'frames': self.frames,
            'missing': {'count': len(missing), 'frames': spans(missing) if missing else ''},
            'people': self.ids,
            'results': self.lines.file.name,
            'drawn': None if film is None else {
                'file': film.file.name, 'frames': film.shown, 'repeated': film.repeated, 'resized': film.resized
            },
        }  # fmt: skip


def people_id(people: Poses, place: int) -> int:
    """The id of one of the people of a frame."""
    assert people.ids is not None
    return int(people.ids[place])


def label(canvas: np.ndarray, people: Poses, factor: int, threshold: float) -> None:
    """Write everybody's id above them on a picture enlarged by `factor`, in place."""
    bodies = Bodies.of(people, threshold)
    height = max(canvas.shape[:2]) / 900
    for n in np.flatnonzero(bodies.areas > 0).tolist():
        x, y = scaled(bodies.boxes[n, :2], factor)
        place = (round(float(x)), max(round(float(y)) - 3, round(24 * height)))
        for color, width in ((EDGE, 4), (TEXT, 1)):
            line = max(1, round(width * height))
            cv2.putText(
                canvas, str(people_id(people, n)), place, cv2.FONT_HERSHEY_SIMPLEX, height, color, line, cv2.LINE_AA
            )
