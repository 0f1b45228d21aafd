"""Pictures and videos from files and folders to drawings and results in a folder: what tools/predict.py does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.datasets.images import read_image
from poseplug.engine.checkpoint import write_whole
from poseplug.engine.results import plain
from poseplug.errors import AnnotationError, ConfigError, ImageError, PoseplugError, VideoError, closest
from poseplug.inference import clips
from poseplug.inference.clips import Treatment, is_video
from poseplug.inference.predictor import BoxFormat, Predictor, corners
from poseplug.inference.records import heading, people_of, unique
from poseplug.poses import Poses, write_csv
from poseplug.progress import track
from poseplug.visualization.draw import draw_poses
from poseplug.visualization.fields import stage_strips
from poseplug.visualization.limbs import parsing_sheet

ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
MANY = 20  # pictures from which a bar is shown
BOXES = 'a JSON file {picture: [[x, y, w, h], ...], video: {"FRAME": [[x, y, w, h], ...]}}'


def split_arguments(inputs: Sequence[str]) -> tuple[tuple[str, str] | tuple[None, None], list[str]]:
    """Config and checkpoint, where the first argument is a config, and the pictures after them."""
    if not inputs[0].endswith('.py'):
        return (None, None), list(inputs)
    if len(inputs) < 3:
        raise ConfigError(f'after the config {inputs[0]} come its checkpoint and at least one picture or video')
    return (inputs[0], inputs[1]), list(inputs[2:])


def input_files(inputs: Sequence[str | Path], out: Path) -> list[Path]:
    """The pictures and videos that are named, and those in the folders that are named, each once."""
    files: list[Path] = []
    for given in map(Path, inputs):
        if given.is_dir():
            if given.resolve() == out.resolve():
                raise ImageError(f'{out} holds the pictures; name another folder for --out')
            inside = sorted(f for f in given.iterdir() if f.suffix.lower() in ENDINGS or is_video(f))
            if not inside:
                raise ImageError(f'{given} holds no picture or video ({", ".join(ENDINGS + clips.ENDINGS)})')
            files += inside
        else:
            files.append(given)
    return list(dict.fromkeys(files))


def read_boxes(given: Sequence[str] | None, files: Sequence[Path]) -> list[Any] | None:
    """For each picture its boxes (N, 4), for each video a dict of them by frame; without a file, of one picture."""
    if not given:
        return None
    if len(given) == 1 and given[0].endswith('.json'):
        return boxes_by_name(Path(given[0]), files)
    if len(files) != 1 or is_video(files[0]):
        told = f'{len(files)} files' if len(files) != 1 else f'the video {files[0]}'
        raise AnnotationError(f'--boxes x,y,w,h are the people of one picture, and here is {told}; name {BOXES}')
    return [[box_of(text) for text in given]]


def box_of(text: str) -> list[float]:
    """Four numbers with commas between them."""
    try:
        numbers = [float(v) for v in text.split(',')]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise AnnotationError(f'--boxes: {text!r} is not four numbers with commas between them, such as 12,8,96,180')
    return numbers


def boxes_by_name(file: Path, files: Sequence[Path]) -> list[Any]:
    """The boxes of every picture and video from a JSON file, by its name or its path as given."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise AnnotationError(f'{file}: {error}; what is needed is {BOXES}') from error
    if not isinstance(content, dict):
        raise AnnotationError(f'{file} holds a {type(content).__name__}, not {BOXES}')
    found = []
    for path in files:
        own = content.get(str(path), content.get(path.name))
        if own is None:
            near = closest(path.name, content)
            raise AnnotationError(f'{file} has no boxes for {path.name}; {near or "an empty list says: nobody"}')
        found.append(boxes_by_frame(own, f'{file}, {path.name}') if is_video(path) else own)
    return found


def boxes_by_frame(given: Any, name: str) -> dict[int, Any]:
    """The boxes of a video's frames, by their numbers from 0."""
    if given == []:
        return {}
    if not isinstance(given, dict) or not all(key.isdecimal() for key in given):
        raise AnnotationError(f'{name}: the people of a video are {{"FRAME": [[x, y, w, h], ...]}}, frames from 0')
    return {int(key): own for key, own in given.items()}


def check_options(files: Sequence[Path], out: Path, fields: bool) -> None:
    """Nothing that is read may be written over, and videos have no drawings of belief maps."""
    written = {f'{f.stem}_pose' for f in files}
    for file in files:
        if file.stem in written and file.resolve().parent == out.resolve():
            raise ConfigError(f'{file} would be written over; name another folder for --out than {out}')
        if fields and is_video(file):
            raise ConfigError(f'--fields draws belief maps of pictures, and {file} is a video; leave one of them out')


def check_inputs(files: Sequence[Path], boxes: Sequence[Any] | None, box_format: BoxFormat) -> None:
    """Open everything, so that what is missing or broken, and every wrong box, is told before work starts."""
    faults: list[PoseplugError] = []
    for place, path in enumerate(watched(files, 'checking')):
        try:
            check_input(path, None if boxes is None else boxes[place], box_format)
        except (ImageError, VideoError, AnnotationError) as error:
            faults.append(error)
    if faults:
        more = f'\n(and {len(faults) - 5} more)' if len(faults) > 5 else ''
        raise type(faults[0])('\n'.join(map(str, faults[:5])) + more)


def check_input(path: Path, boxes: Any, box_format: BoxFormat) -> None:
    """Open a picture, or the beginning of a video, and look at its boxes, where there are any."""
    if is_video(path):
        clips.check_video(path, boxes, box_format)
        return
    image = read_image(path)
    if boxes is not None:
        corners(boxes, box_format, (image.shape[1], image.shape[0]), str(path))


def watched(items: Any, title: str, total: int | None = None) -> Any:
    """The items, with a bar where there are many."""
    count = len(items) if total is None else total
    return track(items, title, count, unit='picture') if count >= MANY else items


class Writer:
    """Writes a drawing a picture or video, belief maps where asked, and in the end the results as one file.

    The people of a video's frames have a file of their own; the results tell its name.
    """

    def __init__(self, predictor: Predictor, out: Path, treatment: Treatment, fields: bool = False):
        self.predictor, self.out, self.treatment, self.fields = predictor, out, treatment, fields
        self.results: list[dict[str, Any]] = []
        self.clips: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f'{out}: {error.strerror or error}; name another folder for --out') from error

    def each(self, files: Sequence[Path], boxes: Sequence[Any] | None) -> Iterator[str]:
        """Predict and draw every picture, then every video; yields what to tell of each."""
        given = {} if boxes is None else dict(zip(files, boxes, strict=True))
        pictures, videos = ([f for f in files if is_video(f) == kind] for kind in (False, True))
        yield from self._pictures(pictures, None if boxes is None else [given[f] for f in pictures])
        for file, name in zip(videos, unique(['results', *(f.stem for f in videos)])[1:], strict=True):
            yield self._video(file, name, given.get(file))

    def _pictures(self, files: Sequence[Path], boxes: list[Any] | None) -> Iterator[str]:
        treatment = self.treatment
        stream = self.predictor.stream(files, boxes, treatment.batch_size, box_format=treatment.box_format)
        names = unique([f.stem for f in files])
        for i, stages in enumerate(watched(stream, 'predicting', len(files))):
            poses, own = stages[-1], None if boxes is None else boxes[i]
            image = read_image(files[i])
            self._save(names[i], draw_poses(image, poses, self.predictor.skeleton, treatment.threshold), 'skeletons')
            if self.fields:
                self._draw_fields(names[i], image, *self._shown(poses, own))
            self._note(files[i], image, poses)
            scores = ', '.join(f'{s:.3f}' for s in poses.person_scores) or 'nobody'
            yield f'{files[i]}: {self._name(names[i])}, score {scores}'

    def _video(self, file: Path, name: str, boxes: Any) -> str:
        found = clips.write_clip(self.predictor, file, self.out / name, boxes, self.treatment)
        self.clips.append(found)
        drawn = f'{found["drawn"]["file"]}, ' if found['drawn'] else ''
        self.counts['videos'] += 1
        return f'{file}: {drawn}{found["results"]}, {found["frames"]} frames, people: {found["people"]}'

    def _shown(self, poses: Poses, boxes: Any) -> tuple[Any, BoxFormat]:
        """Whose belief maps are drawn: boxes, those of the detector where it gave them, and what their numbers are."""
        if boxes is None and self.predictor.detector is not None:
            return [] if poses.boxes is None else poses.boxes, 'corners'
        return boxes, self.treatment.box_format

    def _draw_fields(self, name: str, image: np.ndarray, boxes: Any, box_format: BoxFormat) -> None:
        for n, box in enumerate([None] if boxes is None else boxes):
            beliefs = self.predictor.fields(image, box, box_format)
            ending = '_fields' if boxes is None or len(boxes) == 1 else f'_fields_{n + 1}'
            self._save(name, stage_strips(beliefs), 'belief maps', ending)
            if beliefs.limbs:
                self._save(
                    name, parsing_sheet(beliefs, self.predictor.model.codec), 'limbs', ending.replace('fields', 'limbs')
                )

    def _name(self, name: str, ending: str = '_pose') -> str:
        return f'{name}{ending}.jpg'

    def _save(self, name: str, image: np.ndarray, kind: str, ending: str = '_pose') -> None:
        done, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        file = self.out / self._name(name, ending)
        if not done:
            raise ImageError(f'{file}: a picture of {image.shape[1]}x{image.shape[0]} px cannot be written as JPEG')
        self._write(file, data.tobytes())
        self.counts[kind] += 1

    def _write(self, file: Path, data: bytes) -> None:
        try:
            file.write_bytes(data)
        except OSError as error:
            raise ConfigError(f'{file}: {error.strerror or error}; name another folder for --out') from error

    def _note(self, file: Path, image: np.ndarray, poses: Poses) -> None:
        self.results.append(
            {'file': str(file), 'width': image.shape[1], 'height': image.shape[0], 'people': people_of(poses)}
        )
        self.rows += poses.rows(str(file), self.predictor.skeleton)

    def finish(self) -> str:
        """Write results.json, and results.csv of the pictures on request; returns the JSON."""
        content = heading(self.predictor) | {'images': self.results, 'videos': self.clips}
        text = json.dumps(plain(content), indent=1)
        write_whole(self.out / 'results.json', f'{text}\n'.encode())
        self.counts['results.json'] = 1
        if self.treatment.csv and self.results:
            write_csv(self.out / 'results.csv', self.rows)
            self.counts['results.csv'] = 1
        return text

    def written(self) -> list[str]:
        """What was written, in words."""
        return [k if k.startswith('results') else f'{n} {k if n > 1 else k[:-1]}' for k, n in self.counts.items()]
