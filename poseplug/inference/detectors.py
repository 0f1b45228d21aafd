"""Where people are in a picture: the door for a detector, and one that runs ONNX files through OpenCV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from poseplug.datasets.sources.boxes import Found, clipped
from poseplug.datasets.transforms.warp import cut, how_reduced, whole_from_reduced
from poseplug.errors import CheckpointError, ConfigError
from poseplug.fetch import fetched
from poseplug.geometry import Size, apply, middle, place
from poseplug.grouping.nms import nms
from poseplug.inference.onnx_file import input_shapes
from poseplug.inference.pictures import Image, opened

BINS = 8  # distances that NanoDet's head tells apart: 0 to 7 strides
MEAN, DEVIATION = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # of BGR, as NanoDet's inputs are scaled by
LEAST = 1.0  # px: boxes that are narrower or lower, once cut at the picture's border, are nobody
UNDERSTOOD = (
    f"NanoDet's maps (cells, classes) and (cells, 4 x {BINS}), a pair a stride; (people, 5 or 6) of two corners, score "
    f'and perhaps class; the same (people, 5) beside classes (people,); or two corners (cells, 4) beside chances '
    f'(cells, classes)'
)


class Detector(Protocol):
    """Anything that is called with pictures (H, W, 3) of uint8 in BGR order, and finds the people of each.

    For every picture it returns boxes (N, 4) as two corners, px of the picture, and scores (N,) from 0 to 1, the
    surest first.
    """

    def __call__(self, images: Sequence[np.ndarray], /) -> Sequence[tuple[np.ndarray, np.ndarray]]: ...


class OnnxDetector:
    """People by a detector's ONNX file, which is the user's own; OpenCV runs it on the CPU.

    A picture is brought into the file's input as a whole, in the middle, its sides in proportion and black beside it.
    Understood are the heads of NanoDet, whose distances are distributions, and files that give boxes in px of the
    input (`people_of`).

    Args:
        file: the file, or `URL#sha256=DIGITS` of it.
        threshold: boxes that score less are left out.
        overlap: of two boxes that share more of their union the better one stays.
        person: the number of people's class.
        mean, deviation: of BGR, 0 to 255: what is subtracted from a colour, and what it is then divided by.

    Raises:
        CheckpointError: the file is absent, no ONNX file, or of another kind.
    """

    def __init__(
        self,
        file: str | Path,
        threshold: float = 0.4,
        overlap: float = 0.6,
        person: int = 0,
        mean: Sequence[float] = MEAN,
        deviation: Sequence[float] = DEVIATION,
    ):
        for name, value in (('threshold', threshold), ('overlap', overlap)):
            if not 0 <= value <= 1:
                raise ConfigError(f'OnnxDetector: {name} lies between 0 and 1; got {value}')
        self.file = fetched(file) if isinstance(file, str) and '://' in file else Path(file)
        self.threshold, self.overlap, self.person = threshold, overlap, person
        self.mean, self.deviation = np.asarray(mean, np.float32), np.asarray(deviation, np.float32)
        self.net, self.size = read_net(self.file)
        self.outputs = self.net.getUnconnectedOutLayersNames()
        self([np.zeros((*self.size[::-1], 3), np.uint8)])  # so that outputs of another kind are told here

    def __call__(self, images: Sequence[Image], /) -> list[Found]:
        """The people of every picture, the surest first; see `Detector`. Pictures may be paths or bytes, too."""
        return [self._found(opened(image, n)[1]) for n, image in enumerate(images)]

    def _found(self, image: np.ndarray) -> Found:
        inputs, matrix = letterboxed(image, self.size)
        try:
            found = people_of(self._run((inputs - self.mean) / self.deviation), self.size, self.person)
        except (ConfigError, CheckpointError) as error:
            raise type(error)(f'{self.file}: {error}') from None
        boxes = apply(np.linalg.inv(matrix), found.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        boxes = clipped(boxes, np.array([image.shape[1::-1]]))
        some = (found.scores >= self.threshold) & (boxes[:, 2:] - boxes[:, :2] >= LEAST).all(axis=1)
        kept = np.flatnonzero(some)[nms(boxes[some], found.scores[some], self.overlap)]
        return Found(boxes[kept], found.scores[kept])

    def _run(self, inputs: np.ndarray) -> Sequence[np.ndarray]:
        """What the network gives for an input (H, W, 3)."""
        try:
            self.net.setInput(np.ascontiguousarray(inputs.transpose(2, 0, 1)[None]))
            return self.net.forward(self.outputs)
        except cv2.error as error:
            raise CheckpointError(f'OpenCV cannot run it: {summary(error)}; export it with other operators') from None


def read_net(file: Path) -> tuple[Any, Size]:
    """The network of an ONNX file, and (width, height) of its input."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f'{file}: {error.strerror or error}; name the ONNX file of a detector') from None
    try:
        shapes = input_shapes(data)
        net: Any = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    except (ValueError, cv2.error) as error:
        raise CheckpointError(
            f'{file} is no ONNX file that OpenCV reads ({summary(error)}); fetch or export it again'
        ) from None
    (shape, *others) = shapes
    if others or len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < 1:
        told = ', '.join(' x '.join(str(n or '?') for n in s) for s in shapes)
        raise CheckpointError(
            f"{file} takes {told}, but a detector's one input is 1 x 3 x height x width; export it with a fixed size"
        )
    return net, (shape[3], shape[2])


def summary(error: Exception) -> str:
    """The first line of an error, without the place in OpenCV's source that it names."""
    return str(error).strip().splitlines()[0].rpartition('error: ')[2]


def letterboxed(image: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """A picture in the middle of an input of `size`, as large as fits, and the matrix (3, 3) that brought it there.

    A picture of more than twice the input's size is first reduced by a whole number, by the mean of blocks.
    """
    held = image.shape[1::-1]
    matrix = place(middle(held), min(wide / own for wide, own in zip(size, held, strict=True)), size)
    reduction = how_reduced([matrix])
    if reduction == 1 or min(held) < reduction:
        return cut(image, matrix, size, fill=(0, 0, 0)), matrix
    width, height = (own // reduction for own in held)
    whole = image[: height * reduction, : width * reduction]
    small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return cut(small, matrix @ whole_from_reduced(reduction), size, fill=(0, 0, 0)), matrix


def people_of(outputs: Sequence[np.ndarray], size: Size, person: int = 0) -> Found:
    """The boxes (N, 4; px of an input of `size`) and scores (N,) of class `person` in what a detector gives.

    Raises:
        CheckpointError: these are not the outputs of a detector that is understood.
        ConfigError: there is no such class.
    """
    maps = [o[0] if o.ndim == 3 and len(o) == 1 else o for o in outputs]
    found = told_outright(maps, person) or of_distributions(maps, size, person)
    if found is None:
        shapes = ', '.join(' x '.join(map(str, o.shape)) for o in outputs) or 'none'
        raise CheckpointError(f'its outputs are {shapes}; understood are {UNDERSTOOD}')
    return found


def told_outright(maps: Sequence[np.ndarray], person: int) -> Found | None:
    """The people of class `person` where a detector gives boxes; None where it gives something else."""
    boxes, *others = maps or [np.zeros(0)]
    width = boxes.shape[1] if boxes.ndim == 2 else 0
    if not others and width in (5, 6):
        return of_class(boxes, boxes[:, 5] if width == 6 else None, person)
    if len(others) != 1 or width not in (4, 5):
        return None
    if width == 5 and others[0].size == len(boxes):
        return of_class(boxes, others[0].ravel(), person)
    if width == 4 and others[0].ndim == 2 and len(others[0]) == len(boxes):
        return Found(boxes, chances(others[0], person))
    return None


def of_distributions(maps: Sequence[np.ndarray], size: Size, person: int) -> Found | None:
    """The people of class `person` in NanoDet's maps, of an input of `size`; None where these are others."""
    chance = {len(m): m for m in maps if m.ndim == 2 and m.shape[1] != 4 * BINS}
    distance = {len(m): m for m in maps if m.ndim == 2 and m.shape[1] == 4 * BINS}
    if not maps or chance.keys() != distance.keys() or 2 * len(chance) != len(maps):
        return None
    boxes = [boxes_of(distance[n], centers(n, size)) for n in chance]
    return Found(np.concatenate(boxes), np.concatenate([chances(chance[n], person) for n in chance]))


def of_class(rows: np.ndarray, classes: np.ndarray | None, person: int) -> Found:
    """Those rows (N, 5 or 6: two corners, score, ...) that are of class `person`, or all without `classes` (N,)."""
    own = rows if classes is None else rows[classes == person]
    return Found(own[:, :4], own[:, 4])


def chances(table: np.ndarray, person: int) -> np.ndarray:
    """The column of class `person` in chances (cells, classes)."""
    if not 0 <= person < table.shape[1]:
        raise ConfigError(f'it tells {table.shape[1]} classes apart, 0 to {table.shape[1] - 1}; got person={person}')
    return table[:, person]


def centers(count: int, size: Size) -> tuple[np.ndarray, float]:
    """The middles (cells, 2) of the `count` cells of an input of `size`, row by row, px; and the cells' stride."""
    stride = max(1, round(math.sqrt(size[0] * size[1] / max(count, 1))))
    columns, rows = size[0] // stride, size[1] // stride
    if columns * rows != count or (columns * stride, rows * stride) != size:
        raise CheckpointError(f'{count} cells of one stride do not tile an input of {size[0]}x{size[1]} px')
    y, x = np.divmod(np.arange(count), columns)
    return stride * (np.stack([x, y], axis=1) + 0.5) - 0.5, float(stride)


def boxes_of(distances: np.ndarray, cells: tuple[np.ndarray, float]) -> np.ndarray:
    """Boxes (cells, 4) from the distributions of how far their sides are from the cells' middles.

    A distance is the mean of its distribution, in strides: the sum over bins of number times chance (Li et al. 2020,
    Generalized Focal Loss, arXiv:2006.04388, eq. 5), as NanoDet's head predicts it.

    Args:
        distances: (cells, 4 * `BINS`) logits: left, top, right, bottom.
        cells: middles (cells, 2) px, and stride.
    """
    middles, stride = cells
    logits = distances.reshape(len(distances), 4, BINS)
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    away = stride * (shares @ np.arange(BINS)) / shares.sum(axis=-1)
    return np.concatenate([middles - away[:, :2], middles + away[:, 2:]], axis=1)
