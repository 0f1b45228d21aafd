"""Everybody annotated and predicted, picture by picture, in the layout that COCO's evaluators read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from poseplug.errors import ConfigError, MismatchError
from poseplug.evaluation.base import check_choice, check_joints
from poseplug.evaluation.evaluators import MOST
from poseplug.grouping.nms import box_areas
from poseplug.grouping.oks import oks_nms, soft_oks_nms
from poseplug.poses import Poses
from poseplug.sample import AREA_OF_BOX, Record
from poseplug.skeleton import Skeleton

CERTAIN = 0.2  # the score above which a joint takes part in rescoring
Rescore = Literal['none', 'joints']
Suppression = Literal['none', 'oks', 'soft_oks']


@dataclass(frozen=True)
class Found:
    """People that were predicted: `keypoints` (N, K, 2) px, `scores` (N,) and `areas` (N,) px² of their boxes."""

    keypoints: np.ndarray
    scores: np.ndarray
    areas: np.ndarray

    def __getitem__(self, which: Any) -> Found:
        return Found(self.keypoints[which], self.scores[which], self.areas[which])


class Gathering:
    """The people of every picture, rescored, suppressed and counted.

    Annotated people come from a picture's first record (from its `truth`, where a detector gave the boxes). `visible`
    is the least visibility of a joint that makes a person count. `areas` are the annotated ones, or always a share of
    the box.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        rescore: Rescore = 'none',
        nms: Suppression = 'none',
        nms_threshold: float = 0.9,
        areas: Literal['annotated', 'box'] = 'annotated',
        visible: int = 1,
        owner: str = 'OKSAP',
    ):
        if skeleton.sigmas is None:
            raise ConfigError(f'skeleton {skeleton.name!r} has no sigmas, which OKS needs; give it one a joint')
        check_choice(owner, 'rescore', rescore, ('none', 'joints'))
        check_choice(owner, 'nms', nms, ('none', 'oks', 'soft_oks'))
        if not 0 < nms_threshold <= 1:
            raise ConfigError(f'{owner}: nms_threshold is an OKS, above 0 and up to 1; got {nms_threshold}')
        self.skeleton, self.sigmas = skeleton, np.array(skeleton.sigmas)
        self.rescore, self.nms, self.nms_threshold = rescore, nms, nms_threshold
        self.areas, self.visible = areas, visible
        self.records: dict[str, Record] = {}
        self.found: dict[str, list[Found]] = {}
        self.subjects: set[tuple[str, int]] = set()
        self.dropped: Counter[str] = Counter()

    def add(self, predicted: Poses, true: Record) -> None:
        """The people predicted for a picture, or for the subject of one of its crops."""
        check_joints(self.skeleton, predicted, true)
        truth = true.truth or true
        self.records.setdefault(truth.id, truth)
        found = self.found.setdefault(truth.id, [])
        if self._again(predicted, true):
            self.dropped['are of an annotated person who was predicted before'] += 1
        elif len(predicted):
            found.append(self._usable(self._scored(predicted.numpy(), true)))

    def _again(self, predicted: Poses, true: Record) -> bool:
        """Whether this crop's subject has been predicted before, as where a sampler fills up its last batch."""
        if len(predicted) != 1 or true.numbers is None or not len(true.numbers):
            return False
        subject = (true.id, int(true.numbers[0]))
        again = subject in self.subjects
        self.subjects.add(subject)
        return again

    def _scored(self, predicted: Poses, true: Record) -> Found:
        """People with the score that ranks them and the area of the box they come from (of their joints, without)."""
        keypoints, scores = np.asarray(predicted.keypoints, float), np.asarray(predicted.person_scores, float)
        if self.rescore == 'joints':
            scores = of_boxes('box_scores', predicted, true, np.ones(len(predicted))) * certainty(predicted.scores)
        hulls = np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1)
        boxes = hulls if true.box_scores is None else of_boxes('boxes', predicted, true, hulls)
        boxes = boxes if predicted.boxes is None else np.asarray(predicted.boxes, float)
        return Found(keypoints, scores, box_areas(boxes))

    def _usable(self, found: Found) -> Found:
        """Those whose numbers are all finite; the others are counted."""
        usable = np.isfinite(found.keypoints).all(axis=(1, 2)) & np.isfinite(found.scores)
        self._drop('hold a position or a score that is not a finite number', int((~usable).sum()))
        return found[usable]

    def _drop(self, why: str, count: int) -> None:
        self.dropped.update({why: count} if count else {})

    @property
    def numbers(self) -> dict[str, int]:
        """The number of every picture, whatever the order in which they came: ids that are numbers rise."""
        return {name: n for n, name in enumerate(sorted(self.records, key=lambda n: (len(n), n)), start=1)}

    def truth(self, pictures: Collection[str] | None = None) -> dict[str, Any]:
        """The annotations of all pictures, or of some."""
        numbers = {name: n for name, n in self.numbers.items() if pictures is None or name in pictures}
        people = [a for name, number in numbers.items() for a in self._annotated(self.records[name], number)]
        return {
            'info': {},
            'images': [{'id': n} for n in numbers.values()],
            'annotations': [{**person, 'id': n} for n, person in enumerate(people, start=1)],
            'categories': [{'id': 1, 'name': 'person', 'keypoints': list(self.skeleton.joints)}],
        }

    def _annotated(self, record: Record, image: int) -> list[dict[str, Any]]:
        """A picture's people, in an order of their own, and its ignored regions, in that of the record."""
        joints = np.concatenate([record.keypoints, record.visible[..., None]], axis=-1).astype(float)
        boxes, areas, counts = record.whereabouts(), self._areas_of(record), self._counts(record)
        people = [
            annotation(image, boxes[n], float(areas[n]), joints[n], int(counts[n]))
            for n in sorted(range(len(joints)), key=lambda n: (*boxes[n], *joints[n].ravel()))
        ]
        nowhere = np.zeros((len(self.skeleton), 3))
        return people + [
            {**annotation(image, box, float(area), nowhere, 0), 'iscrowd': int(crowd)}
            for box, area, crowd in zip(*self._regions(record), strict=True)
        ]

    def _regions(self, record: Record) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The boxes (M, 4) and areas (M,) of ignored regions, and which of them are crowds."""
        boxes = np.zeros((0, 4)) if record.ignore is None else record.ignore
        areas = box_areas(boxes) if record.ignore_areas is None else record.ignore_areas
        crowds = np.ones(len(boxes), dtype=bool) if record.ignore_crowds is None else record.ignore_crowds
        return boxes, AREA_OF_BOX * box_areas(boxes) if self.areas == 'box' else areas, crowds

    def _counts(self, record: Record) -> np.ndarray:
        """(N,) joints that make a person count; whoever has none is ignored."""
        return (record.visible >= self.visible).sum(axis=1)

    def _areas_of(self, record: Record) -> np.ndarray:
        estimated = AREA_OF_BOX * box_areas(record.whereabouts())
        if self.areas == 'box' or record.areas is None:
            return estimated
        return np.where(record.areas > 0, record.areas, estimated)

    def results(self, pictures: Collection[str] | None = None) -> list[dict[str, Any]]:
        """The predicted people of all pictures, or of some, best first and without those suppressed.

        The third number of a joint is 1: OKS has no use for a score, and one of the evaluators drops people without.
        """
        return [
            {
                'image_id': number,
                'category_id': 1,
                'keypoints': np.pad(points, ((0, 0), (0, 1)), constant_values=1).ravel().tolist(),
                'score': float(score),
            }
            for name, number in self.numbers.items()
            if pictures is None or name in pictures
            for found in [self.kept(name)]
            for points, score in zip(found.keypoints, found.scores, strict=True)
        ]

    def kept(self, name: str) -> Found:
        """The people predicted for a picture, best first, after non-maximum suppression."""
        parts = self.found[name]
        if not parts:
            return Found(np.zeros((0, len(self.skeleton), 2)), np.zeros(0), np.zeros(0))
        found = Found(*(np.concatenate([getattr(p, n) for p in parts]) for n in ('keypoints', 'scores', 'areas')))
        order = sorted(range(len(found.scores)), key=lambda n: (-found.scores[n], *found.keypoints[n].ravel()))
        return self._suppressed(found[order])

    def _suppressed(self, found: Found) -> Found:
        """Soft suppression chooses whom to keep, and leaves the scores as they are."""
        given = (found.keypoints, found.scores, found.areas, self.sigmas, self.nms_threshold)
        if self.nms == 'oks':
            return found[oks_nms(*given)]
        if self.nms == 'soft_oks':
            return found[np.sort(soft_oks_nms(*given, most=MOST))]
        return found

    def people(self) -> int:
        """How many annotated people count."""
        return sum(int((self._counts(r) > 0).sum()) for r in self.records.values())

    def notes(self) -> list[str]:
        """What was dropped, suppressed, missed, ignored or estimated, and why."""
        dropped = [f'{count} predicted people {why}: dropped' for why, count in self.dropped.items()]
        return dropped + [note for count, note in (*self._on_predicted(), *self._on_annotated()) if count]

    def _on_predicted(self) -> Iterator[tuple[int, str]]:
        """How many predicted people or pictures a note is about, and the note."""
        kept = {name: len(self.kept(name).scores) for name in self.records}
        given = sum(len(f.scores) for parts in self.found.values() for f in parts)
        suppressed = given - sum(kept.values())
        yield (
            suppressed,
            f'{suppressed} of {given} predicted people are suppressed by {self.nms} {self.nms_threshold:g}',
        )
        crowded = [count - MOST for count in kept.values() if count > MOST]
        beyond = f'{sum(crowded)} predicted people beyond the best {MOST} of a picture do not count'
        yield len(crowded), f'{beyond} ({len(crowded)} pictures)'
        empty = [name for name, count in kept.items() if not count]
        missed = sum(int((self._counts(self.records[name]) > 0).sum()) for name in empty)
        yield (
            len(empty),
            f'{len(empty)} of {len(kept)} pictures have nobody predicted: their {missed} people are missed',
        )

    def _on_annotated(self) -> Iterator[tuple[int, str]]:
        """How many annotated people, regions or pictures a note is about, and the note."""
        records = list(self.records.values())
        jointless = sum(int((self._counts(r) == 0).sum()) for r in records)
        kind = 'visible' if self.visible > 1 else 'labelled'
        yield jointless, f'{jointless} annotated people without a {kind} joint are ignored'
        crowds = [crowd for r in records for crowd in self._regions(r)[2]]
        many = f'all of them in {sum(crowds)} crowds, one in each of the others'
        yield len(crowds), f'{len(crowds)} ignored regions: predictions there count neither way, {many}'
        lacking = [r for r in records if r.areas is None or not (r.areas > 0).all()]
        if lacking and self.areas == 'annotated':
            who = f'{lacking[0].source or "the data set"} gives no area for people of {len(lacking)}'
            yield len(lacking), f'{who} of {len(records)} pictures: {AREA_OF_BOX} x box is used'


def of_boxes(field: str, predicted: Poses, true: Record, otherwise: np.ndarray) -> np.ndarray:
    """What a record knows of the box of each predicted person: of its subject, or of all of them in turn."""
    values = getattr(true, field)
    if values is None:
        return otherwise
    if len(predicted) not in (1, len(values)):
        raise MismatchError(
            f"{true.id}: {len(predicted)} people are predicted for {len(values)} boxes; a metric with a box's score "
            f"needs one prediction a box. Set rescore='none' for models that find people themselves"
        )
    return np.asarray(values[: len(predicted)], float)


def certainty(scores: Any) -> np.ndarray:
    """(N,) the mean of those joint scores (N, K) that exceed `CERTAIN`, 0 where none does."""
    scores = np.asarray(scores, float)
    sure = scores > CERTAIN
    return np.where(sure, scores, 0).sum(axis=1) / np.maximum(sure.sum(axis=1), 1)


def annotation(image: int, box: np.ndarray, area: float, joints: np.ndarray, count: int) -> dict[str, Any]:
    """One person with joints (K, 3) in COCO's layout; without a `count` of joints, one to be ignored."""
    return {
        'image_id': image,
        'category_id': 1,
        'iscrowd': 0,
        'area': area,
        'bbox': [float(v) for v in (*box[:2], *(box[2:] - box[:2]))],
        'num_keypoints': count,
        'keypoints': joints.ravel().tolist(),
    }
