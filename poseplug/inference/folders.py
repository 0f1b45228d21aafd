"""Pictures from files and folders to drawings and results in a folder: what tools/predict.py does."""

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
from poseplug.errors import AnnotationError, ConfigError, ImageError, closest
from poseplug.inference.predictor import BoxFormat, Predictor, corners
from poseplug.poses import Poses, write_csv
from poseplug.progress import track
from poseplug.visualization.draw import draw_poses
from poseplug.visualization.fields import stage_strips
from poseplug.visualization.limbs import parsing_sheet

ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
MANY = 20  # pictures from which a bar is shown


def split_arguments(inputs: Sequence[str]) -> tuple[tuple[str, str] | tuple[None, None], list[str]]:
    """Config and checkpoint, where the first argument is a config, and the pictures after them."""
    if not inputs[0].endswith('.py'):
        return (None, None), list(inputs)
    if len(inputs) < 3:
        raise ConfigError(f'after the config {inputs[0]} come its checkpoint and at least one picture')
    return (inputs[0], inputs[1]), list(inputs[2:])


def picture_files(inputs: Sequence[str | Path], out: Path) -> list[Path]:
    """The pictures that are named, and those in the folders that are named, each once."""
    files: list[Path] = []
    for given in map(Path, inputs):
        if given.is_dir():
            if given.resolve() == out.resolve():
                raise ImageError(f'{out} holds the pictures; name another folder for --out')
            inside = sorted(f for f in given.iterdir() if f.suffix.lower() in ENDINGS)
            if not inside:
                raise ImageError(f'{given} holds no picture ({", ".join(ENDINGS)})')
            files += inside
        else:
            files.append(given)
    return list(dict.fromkeys(files))


def read_boxes(given: Sequence[str] | None, files: Sequence[Path]) -> list[Any] | None:
    """For each picture its boxes as numbers (N, 4): from the command line for a single one, or from a JSON file."""
    if not given:
        return None
    if len(given) == 1 and given[0].endswith('.json'):
        return boxes_by_name(Path(given[0]), files)
    if len(files) != 1:
        raise AnnotationError(
            f'--boxes x,y,w,h are the people of one picture, but there are {len(files)}; name a JSON file '
            f'{{picture: [[x, y, w, h], ...]}}'
        )
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
    """The boxes of every picture from a JSON file, by its name or its path as given."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise AnnotationError(f'{file}: {error}; it holds {{picture: [[x, y, w, h], ...]}}') from error
    if not isinstance(content, dict):
        raise AnnotationError(f'{file} holds a {type(content).__name__}, not {{picture: [[x, y, w, h], ...]}}')
    found = []
    for path in files:
        own = content.get(str(path), content.get(path.name))
        if own is None:
            near = closest(path.name, content)
            raise AnnotationError(f'{file} has no boxes for {path.name}; {near or "an empty list says: nobody"}')
        found.append(own)
    return found


def check_pictures(files: Sequence[Path], boxes: Sequence[Any] | None, box_format: BoxFormat) -> None:
    """Open every picture, so that what is missing or broken, and every wrong box, is told before work starts."""
    faults = []
    for place, path in enumerate(watched(files, 'checking')):
        try:
            image = read_image(path)
            if boxes is not None:
                corners(boxes[place], box_format, (image.shape[1], image.shape[0]), str(path))
        except (ImageError, AnnotationError) as error:
            faults.append(error)
    if faults:
        more = f'\n(and {len(faults) - 5} more)' if len(faults) > 5 else ''
        raise type(faults[0])('\n'.join(map(str, faults[:5])) + more)


def watched(items: Any, title: str, total: int | None = None) -> Any:
    """The items, with a bar where there are many."""
    count = len(items) if total is None else total
    return track(items, title, count, unit='picture') if count >= MANY else items


class Writer:
    """Writes a drawing a picture, belief maps where asked, and in the end the results of all as one file."""

    def __init__(self, predictor: Predictor, out: Path, threshold: float, box_format: BoxFormat):
        self.predictor, self.out, self.threshold, self.box_format = predictor, out, threshold, box_format
        self.results: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f'{out}: {error.strerror or error}; name another folder for --out') from error

    def each(self, files: Sequence[Path], boxes: list[Any] | None, batch_size: int, fields: bool) -> Iterator[str]:
        """Predict and draw picture after picture; yields what to tell of each."""
        stream = self.predictor.stream(files, boxes, batch_size, box_format=self.box_format)
        names = unique([f.stem for f in files])
        for i, stages in enumerate(watched(stream, 'predicting', len(files))):
            poses, own = stages[-1], None if boxes is None else boxes[i]
            image = read_image(files[i])
            self._save(names[i], draw_poses(image, poses, self.predictor.skeleton, self.threshold), 'skeletons')
            if fields:
                self._draw_fields(names[i], image, own)
            self._note(files[i], image, poses)
            scores = ', '.join(f'{s:.3f}' for s in poses.person_scores) or 'nobody'
            yield f'{files[i]}: {self._name(names[i])}, score {scores}'

    def _draw_fields(self, name: str, image: np.ndarray, boxes: Any) -> None:
        for n, box in enumerate([None] if boxes is None else boxes):
            beliefs = self.predictor.fields(image, box, self.box_format)
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

    def finish(self, csv: bool = False) -> str:
        """Write results.json, and results.csv on request; returns the JSON."""
        skeleton = self.predictor.skeleton
        content = {
            'model': self.predictor.name,
            'skeleton': skeleton.name,
            'centric': skeleton.centric,
            'joints': list(skeleton.joints),
            'score': self.predictor.model.codec.score,
            'images': self.results,
        }
        text = json.dumps(plain(content), indent=1)
        write_whole(self.out / 'results.json', f'{text}\n'.encode())
        self.counts['results.json'] = 1
        if csv:
            write_csv(self.out / 'results.csv', self.rows)
            self.counts['results.csv'] = 1
        return text

    def written(self) -> list[str]:
        """What was written, in words."""
        return [k if k.startswith('results') else f'{n} {k}' for k, n in self.counts.items()]


def people_of(poses: Poses) -> list[dict[str, Any]]:
    """The people of a picture as plain lists: joints are x, y and score, boxes x, y of two corners."""
    found = []
    for n in range(len(poses)):
        joints = np.column_stack([poses.keypoints[n], poses.scores[n]]).tolist()
        person: dict[str, Any] = {
            'score': round(float(poses.person_scores[n]), 4),
            'keypoints': [[round(x, 2), round(y, 2), round(s, 4)] for x, y, s in joints],
        }
        if poses.boxes is not None:
            person['corners'] = [round(float(v), 2) for v in poses.boxes[n]]
        found.append(person)
    return found


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that come again with a number that no other has."""
    taken: set[str] = set()
    found = []
    for name in names:
        own, count = name, 1
        while own in taken:
            count += 1
            own = f'{name}_{count}'
        taken.add(own)
        found.append(own)
    return found
