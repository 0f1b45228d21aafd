"""People of pictures by a trained model, exactly as the test command places, warps and reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from poseplug.build import build_model, need
from poseplug.codecs.base import Grid
from poseplug.config import load_config
from poseplug.datasets.dataset import inside
from poseplug.datasets.transforms.base import Transform
from poseplug.engine.checkpoint import load_weights
from poseplug.errors import AnnotationError, ConfigError, ImageError
from poseplug.evaluation.gathering import certainty
from poseplug.inference.detectors import Detector
from poseplug.inference.pictures import Image, opened
from poseplug.inference.shipped import shipped_model
from poseplug.models.folding import fold_norms
from poseplug.poses import Poses
from poseplug.registry import TRANSFORMS
from poseplug.sample import Draw, Record, Sample, collate
from poseplug.skeleton import get_skeleton

BoxFormat = Literal['xywh', 'corners']
PLACINGS = ('PlacePicture', 'PlaceByScale', 'PlaceBySource')  # what a box given by the caller replaces
WHOLE = 8  # people's boxes that a whole picture counts as in a batch
OVERHANG = 0.25  # share of its size by which a box may leave the picture before it is taken for a mistake


@dataclass(frozen=True)
class Beliefs:
    """What a model believes about one person, stage by stage.

    `image` (H, W, 3) is the picture and `inputs` (h, w, 3) what the network saw of it, both BGR; `matrix` (3, 3) takes
    pixels of the picture to pixels of the input. `maps` holds one array (C, rows, columns) a stage, a channel a joint
    in the order of `joints`, and then the background where the codec has one; `grid` says where the cells lie. Where
    there are limbs, too, `limbs` holds x and y of each in turn, (2 L, rows, columns) a stage.
    """

    image: np.ndarray
    inputs: np.ndarray
    matrix: np.ndarray
    maps: tuple[np.ndarray, ...]
    joints: tuple[str, ...]
    grid: Grid
    limbs: tuple[np.ndarray, ...] = ()


class Predictor:
    """A model, its weights and its test pipeline; without arguments, those that come with poseplug.

    `config` is a config file or a loaded config, `weights` a checkpoint of that model. A picture without boxes is one
    person, placed by the config's test pipeline; a person with a box is placed by `PlaceBox` in its stead. A model that
    finds people by itself takes whole pictures alone. With a `detector` (`poseplug.inference.detectors`) a picture
    without boxes has the people that it finds, whose person scores are as COCO's protocol ranks them: the box's score
    times the mean of the joints' that exceed 0.2.
    `channels_last` is the memory format of the network, whose numbers it does not change; by default that format is
    taken on a CPU, where it is faster, and the config's elsewhere. Batch norms are folded into the convolutions before
    them, so that `model` is for predicting alone.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        channels_last: bool | None = None,
        detector: Detector | None = None,
    ):
        if (config is None) != (weights is None):
            raise ConfigError('a predictor needs a config and its checkpoint, or neither for the model that is shipped')
        cfg: Any = load_config(config) if isinstance(config, (str, Path)) else config
        if weights is None:
            cfg, weights = shipped_model()
        self.name = f'{Path(getattr(cfg, "filename", None) or weights).stem}, {Path(weights).name}'
        self.model: Any = build_model(cfg)
        self.detector = checked(detector, self.model)
        load_weights(self.model, weights)
        place = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        self.model.to(place).eval()
        fold_norms(self.model)
        if channels_last is not None or place.type == 'cpu':
            lay_out(self.model, torch.contiguous_format if channels_last is False else torch.channels_last)
        self.skeleton = get_skeleton(need(cfg, 'skeleton'))
        specs = pipeline_of(cfg)
        self.placed_by_picture = self._pipeline(specs)
        self.placed_by_box = self._pipeline([by_box(s) for s in specs])

    @property
    def finds_people(self) -> bool:
        """Whether a picture without boxes has whoever is found in it, by the model or the detector."""
        return bool(self.model.finds_people) or self.detector is not None

    def _pipeline(self, specs: Sequence[Any]) -> list[Transform]:
        return [TRANSFORMS.build(s, input_size=self.model.codec.input_size) for s in specs]

    def __call__(
        self,
        images: Sequence[Image],
        boxes: Sequence[Any] | None = None,
        batch_size: int = 32,
        every_stage: bool = False,
        box_format: BoxFormat = 'xywh',
    ) -> Any:
        """The people of every picture, in image pixels: one `Poses` a picture, or such a list for every stage.

        Args:
            images: Paths, the bytes of such files, or pictures (H, W, 3) of uint8 in BGR order.
            boxes: For each picture (N, 4), one row a person, or None for those of the detector (without one, for the
                whole picture).
            batch_size: People that go through the network at once, whatever picture they are of; a whole picture of a
                model that finds people by itself counts as `WHOLE` of them.
            every_stage: Return a list of lists: stages, then pictures.
            box_format: 'xywh' (x, y of the upper left corner, width, height) or 'corners' (x, y of two corners).
        """
        found = list(self.stream(images, boxes, batch_size, every_stage, box_format))
        if not every_stage:
            return [stages[-1] for stages in found]
        return [list(stage) for stage in zip(*found, strict=True)]

    def stream(
        self,
        images: Iterable[Image],
        boxes: Iterable[Any] | None = None,
        batch_size: int = 32,
        every_stage: bool = False,
        box_format: BoxFormat = 'xywh',
    ) -> Iterator[list[Poses]]:
        """As a call, one picture after the other: its people at every stage asked for. Holds one batch of pictures."""
        group: list[list[Sample]] = []
        for place, (image, own) in enumerate(paired(images, boxes)):
            group.append(self.samples(image, own, box_format, place))
            if sum(map(len, group)) >= self._at_once(batch_size):
                yield from self._predicted(group, batch_size, every_stage)
                group = []
        yield from self._predicted(group, batch_size, every_stage)

    def _predicted(self, group: list[list[Sample]], batch_size: int, every_stage: bool) -> Iterator[list[Poses]]:
        """The people of some pictures, given as the samples of each."""
        people = [s for samples in group for s in samples]
        found: list[tuple[Poses, ...]] = []
        for alike in of_one_size(people, self._at_once(batch_size)):
            found += zip(*self.model.predict(collate(alike), every_stage=every_stage), strict=True)
        count = self.model.head.stages if every_stage else 1
        for samples in group:
            own, found = found[: len(samples)], found[len(samples) :]
            yield [with_boxes(joined([p[t] for p in own], len(self.skeleton)), samples) for t in range(count)]

    def _at_once(self, batch_size: int) -> int:
        """How many inputs go through the network at once."""
        return max(1, batch_size // WHOLE) if self.model.finds_people else batch_size

    def samples(self, image: Image, boxes: Any, box_format: BoxFormat = 'xywh', place: int = 0) -> list[Sample]:
        """The inputs of a picture's people, with a detector those that it finds where `boxes` is None.

        Without either the picture is one person.
        """
        path, pixels = opened(image, place)
        if boxes is not None and self.model.finds_people:
            raise ConfigError(f'{type(self.model).__name__} finds people in whole pictures by itself; leave boxes out')
        scores = None
        if boxes is None:
            if self.detector is None:
                return [self._sample(path, pixels, None, place)]
            boxes, scores = detected(self.detector, pixels)
            box_format = 'corners'
        people = corners(boxes, box_format, (pixels.shape[1], pixels.shape[0]), str(path))
        return [
            self._sample(path, pixels, box, place, None if scores is None else scores[n : n + 1])
            for n, box in enumerate(people)
        ]

    def _sample(
        self, path: Path, pixels: np.ndarray, box: np.ndarray | None, place: int, score: np.ndarray | None = None
    ) -> Sample:
        """One person of a picture through the pipeline, box (4,) as two corners and its score (1,) by a detector."""
        keypoints = np.zeros((1, len(self.skeleton), 2), np.float32)
        record = Record(path, path.name, keypoints, np.zeros(keypoints.shape[:2], np.uint8), box_scores=score)
        if box is not None:
            record = replace(record, boxes=box[None], centers=box.reshape(1, 2, 2).mean(axis=1))
        rng = np.random.Generator(np.random.Philox(key=[0, place]))
        sample = Sample(
            record, self.skeleton, pixels, rng, Draw(0, place), keypoints, inside(record, pixels.shape[1::-1])
        )
        for transform in self.placed_by_picture if box is None else self.placed_by_box:
            sample = transform(sample)
        return sample

    def fields(self, image: Image, box: Any = None, box_format: BoxFormat = 'xywh') -> Beliefs:
        """The belief maps of one person, `box` (4,), the detector's surest or the whole picture, at every stage.

        With several scales in the pipeline these are the maps of the first.
        """
        people = self.samples(image, None if box is None else np.asarray(box)[None], box_format)
        if not people:
            raise AnnotationError('the detector finds nobody in the picture; give a box')
        sample = people[0]
        batch = collate([sample])
        if not hasattr(self.model, 'fields') or 'heatmap' not in self.model.codec.fields:
            kind = type(self.model.codec).__name__
            raise ConfigError(f'{kind} makes no belief maps, one a joint; it has {", ".join(self.model.codec.fields)}')
        stages, codec = self.model.fields(batch)[0], self.model.codec
        if batch.extents:
            codec = self.model.codec_of(batch.extents[0])
        return Beliefs(
            image=sample.pixels,
            inputs=batch.images[0, 0].numpy(),
            matrix=sample.matrix,
            maps=tuple(stage['heatmap'][0].float().cpu().numpy() for stage in stages),
            joints=self.skeleton.joints,
            grid=codec.grid,
            limbs=tuple(stage['paf'][0].float().cpu().numpy() for stage in stages if 'paf' in stage),
        )


def checked(detector: Detector | None, model: Any) -> Detector | None:
    """The detector, or an error where it is none or where the model needs none."""
    if detector is not None and model.finds_people:
        raise ConfigError(f'{type(model).__name__} finds people in whole pictures by itself; leave the detector out')
    if detector is not None and not callable(detector):
        raise ConfigError(
            f'a detector is called with pictures and finds boxes, which a {type(detector).__name__} cannot; for the '
            f'ONNX file of one: OnnxDetector(FILE) of poseplug.inference.detectors'
        )
    return detector


def detected(detector: Detector, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (N, 4; two corners) and scores (N,) that a detector finds in a picture (H, W, 3)."""
    answer = detector([pixels])
    try:
        ((boxes, scores),) = answer
        boxes, scores = np.asarray(boxes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        sound = scores.shape == (len(boxes),) and np.isfinite(scores).all()
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise ConfigError(
            f'{type(detector).__name__} did not give boxes (N, 4) and finite scores (N,) for each picture; see '
            'Detector in poseplug.inference.detectors'
        )
    return boxes, scores


def of_one_size(samples: Sequence[Sample], most: int) -> Iterator[Sequence[Sample]]:
    """Samples in order, in groups of inputs of one size, of so many at most."""
    for _, group in groupby(samples, key=lambda s: s.extents):
        alike = list(group)
        for first in range(0, len(alike), most):
            yield alike[first : first + most]


def lay_out(model: Any, layout: torch.memory_format) -> None:
    """Give a network's weights, and the pictures that it will see, a memory format."""
    model.memory_format = layout
    model.to(memory_format=layout)


def pipeline_of(cfg: Mapping[str, Any]) -> Sequence[Any]:
    """The transforms that a config tests with."""
    try:
        return need(cfg, 'test_dataloader')['dataset']['pipeline']
    except KeyError as error:
        raise ConfigError(f'test_dataloader has no {error}, by which pictures are placed for the network') from None


def by_box(spec: Any) -> Any:
    """A transform of the test pipeline, or, if it places whole pictures, `PlaceBox` in its stead."""
    return dict(type='PlaceBox') if isinstance(spec, Mapping) and spec.get('type') in PLACINGS else spec


def paired(images: Iterable[Image], boxes: Iterable[Any] | None) -> Iterator[tuple[Image, Any]]:
    """Every picture with its boxes; a count that differs is an error."""
    if isinstance(images, (str, Path, bytes, np.ndarray)):
        raise ImageError('images is a list of pictures; put a single picture into a list')
    if boxes is None:
        return ((image, None) for image in images)
    if isinstance(images, Sequence) and isinstance(boxes, Sequence) and len(images) != len(boxes):
        raise AnnotationError(
            f'{len(images)} pictures were given boxes for {len(boxes)}; give each picture its own (N, 4), or None'
        )
    return zip(images, boxes, strict=True)


def corners(boxes: Any, box_format: BoxFormat, size: tuple[int, int], name: str) -> np.ndarray:
    """Boxes (N, 4) of a picture of `size` (width, height) as x, y of two corners; what cannot be a box is an error."""
    if box_format not in ('xywh', 'corners'):
        raise ConfigError(f"box_format is 'xywh' or 'corners'; got {box_format!r}")
    try:
        given = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise AnnotationError(f'{name}: boxes are numbers, four a person; {error}') from None
    given = given.reshape(0, 4) if given.size == 0 else given
    if given.ndim != 2 or given.shape[1] != 4:
        raise AnnotationError(f'{name}: boxes are (N, 4), a row a person; got an array of shape {given.shape}')
    if box_format == 'corners':
        found = given
    else:
        found = np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)
    for n, (own, box) in enumerate(zip(given, found, strict=True)):
        if fault := box_fault(own, box, box_format, size):
            raise AnnotationError(f'{name}: box {n} ({", ".join(f"{v:g}" for v in own)}) {fault}')
    return found


def box_fault(given: np.ndarray, box: np.ndarray, box_format: BoxFormat, size: tuple[int, int]) -> str | None:
    """What is wrong with one box, given in `box_format` and as two corners, and what to do; None if it will do."""
    if not np.isfinite(given).all():
        return 'is not finite; leave that person out'
    extent = box[2:] - box[:2]
    if (extent <= 0).any():
        last = 'the second corner lies right of and below the first' if box_format == 'corners' else 'they are positive'
        return f'has a width of {extent[0]:g} and a height of {extent[1]:g} px; {last}'
    if box_format == 'xywh' and like_corners(given, size):
        return (
            f'reaches far out of the picture ({size[0]}x{size[1]} px) as x, y, width, height, but would fit it as two '
            f"corners; if that is what it is, say so (box_format='corners', --box-format corners), otherwise cut it to "
            f'the picture'
        )
    if (box[:2] > np.array(size) - 1).any() or (box[2:] < 0).any():
        return f'lies outside the picture ({size[0]}x{size[1]} px); is it of another picture, or in shares of its size?'
    return None


def like_corners(given: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether numbers read as x, y, width, height leave the picture widely, but as two corners lie within it."""
    edge = np.array(size, dtype=float)
    overhang = given[:2] + given[2:] - edge
    fits = (given[:2] >= -1).all() and (given[2:] <= edge + 1).all() and (given[2:] > given[:2]).all()
    return bool(fits and (overhang > OVERHANG * given[2:]).any())


def joined(people: Sequence[Poses], joints: int) -> Poses:
    """The people of several `Poses` as one; nobody, with `joints` joints, where there are none."""
    if not people:
        return Poses(np.zeros((0, joints, 2), np.float32), np.zeros((0, joints), np.float32), np.zeros(0, np.float32))
    parts = [p.numpy() for p in people]
    values: dict[str, Any] = {}
    for field in fields(Poses):
        own = [getattr(p, field.name) for p in parts]
        values[field.name] = None if any(v is None for v in own) else np.concatenate(own)
    return Poses(**{**values, 'images': None})


def with_boxes(poses: Poses, samples: Sequence[Sample]) -> Poses:
    """The people of a picture with the boxes that they were cut by, where there were any.

    With a detector's boxes their scores are those of the boxes times those of the joints.
    """
    records = [s.record for s in samples if s.record.boxes is not None]
    if not records or len(records) != len(poses):
        return poses
    poses = replace(poses, boxes=np.concatenate([r.boxes for r in records]))
    scores = [r.box_scores for r in records if r.box_scores is not None]
    if not scores:
        return poses
    return replace(poses, person_scores=(np.concatenate(scores) * certainty(poses.scores)).astype(np.float32))
