"""What looks wrong with a data set, person by person: each finding with its remedy, and the worst people drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from poseplug.analysis.doctor import Finding
from poseplug.datasets.images import read_image
from poseplug.datasets.verify import Facts, percent, some
from poseplug.errors import ImageError
from poseplug.geometry import extent
from poseplug.grouping.nms import box_areas
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton
from poseplug.visualization.draw import draw_poses
from poseplug.visualization.report import bullets, figures, page, section

MARGIN = 0.1  # of a box's size that joints may lie beyond it
CROSSING = 1.5  # times that limbs are longer than with left and right exchanged
CLEAR = 0.15  # of the torso's length that left and right must differ in, to be told apart
SAME = 1.0  # px between the joints of two people from which on they are two
SMALL, LARGE = 0.02, 1.0  # shares of its box that a person's area lies between
ROUND = 0.25  # of a person's size that is shown around them
LOOK = 'LOOK'  # how findings are marked: what looks wrong may be right
SIDES = ('left', 'right')
LIMBS = (('shoulder', 'elbow'), ('elbow', 'wrist'), ('hip', 'knee'), ('knee', 'ankle'))

# Every kind of fault, how bad one is, and what to do about it
KINDS = {
    'left and right of the torso cross': (3.0, 'Look at them: exchange left and right of shoulders or hips'),
    'an arm or a leg crosses to the other side': (2.0, 'Look at them: joints of a limb may be exchanged, or crossed'),
    'joints outside the picture': (1.0, 'A data set counts them as not labelled; correct them or fetch the picture'),
    'joints outside the box': (1.0, 'Draw the box anew around the joints, or look whose joints they are'),
    'a labelled joint at the corner 0, 0': (2.0, 'Give it the flag 0, not labelled'),
    'joints in one point': (3.0, 'Label the person anew, or remove it'),
    'a box beyond the picture': (1.0, 'Cut it at the border; is it x, y, width, height?'),
    'an area larger than the box': (1.0, 'Take the area of the outline, or 0.53 of the box'),
    'an area of nearly nothing': (1.0, 'Take the area of the outline, or 0.53 of the box'),
    'the same joints as another person': (3.0, 'Remove one of the two'),
}


@dataclass
class Patient:
    """One person, with everything that looks wrong about them."""

    record: Record
    person: int
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def badness(self) -> float:
        return sum(KINDS[kind][0] * min(count, 5) for kind, count in self.faults.items())

    @property
    def name(self) -> str:
        numbers = self.record.numbers
        return f'{self.record.id} ({f"person {self.person + 1}" if numbers is None else f"no. {numbers[self.person]}"})'


def examine(facts: Facts) -> list[Patient]:
    """Everybody who looks wrong in a source, the worst first."""
    found: dict[tuple[int, int], Patient] = {}
    for place, record in enumerate(facts.records):
        size = facts.sizes.get(record.place)
        for person, kind in faults_of(record, facts.skeleton, size):
            found.setdefault((place, person), Patient(record, person)).faults[kind] += 1
    return sorted(found.values(), key=lambda p: -p.badness)


def faults_of(record: Record, skeleton: Skeleton, size: tuple[int, int] | None) -> Iterator[tuple[int, str]]:
    """Person and kind of every fault in one picture; without its `size` nothing is said of its border."""
    known = record.visible > 0
    for person, (points, seen) in enumerate(zip(record.keypoints.astype(float), known, strict=True)):
        yield from ((person, kind) for kind in faults_of_joints(points, seen, skeleton))
        if size is not None:
            beyond = ((points < -0.5) | (points > np.array(size) - 0.5)).any(axis=1) & seen
            yield from [(person, 'joints outside the picture')] * int(beyond.sum())
        if record.boxes is not None:
            yield from ((person, kind) for kind in faults_of_box(record, person, points[seen], size))
    for one in range(len(known)):
        for other in range(one):
            both = known[one] & known[other]
            apart = np.abs(record.keypoints[one] - record.keypoints[other])[both]
            if both.sum() > 2 and apart.max() < SAME:
                yield one, 'the same joints as another person'


def faults_of_joints(points: np.ndarray, seen: np.ndarray, skeleton: Skeleton) -> Iterator[str]:
    """What is wrong with one person's joints (K, 2) themselves."""
    if seen.sum() > 2 and np.ptp(points[seen], axis=0).max() == 0:
        yield 'joints in one point'
        return
    yield from ['a labelled joint at the corner 0, 0'] * int((seen & (np.abs(points) < 1e-6).all(axis=1)).sum())
    joints = {name: points[k] for k, name in enumerate(skeleton.joints) if seen[k]}
    if torso_crosses(joints):
        yield 'left and right of the torso cross'
    yield from ['an arm or a leg crosses to the other side'] * sum(limb_crosses(joints, *limb) for limb in LIMBS)


def torso_crosses(joints: dict[str, np.ndarray]) -> bool:
    """Whether shoulders and hips disagree on left and right, in the frame of the torso, and clearly."""
    names = [f'{side}_{part}' for part in ('shoulder', 'hip') for side in SIDES]
    if not set(names) <= set(joints):
        return False
    ls, rs, lh, rh = (joints[n] for n in names)
    up = (ls + rs - lh - rh) / 2
    across = np.array([-up[1], up[0]])
    shoulders, hips = float((ls - rs) @ across), float((lh - rh) @ across)
    return shoulders * hips < 0 and min(abs(shoulders), abs(hips)) > CLEAR * float(up @ up)


def limb_crosses(joints: dict[str, np.ndarray], upper: str, lower: str) -> bool:
    """Whether a pair of limbs would be much shorter with the lower ends of left and right exchanged."""
    names = [f'{side}_{part}' for part in (upper, lower) for side in SIDES]
    if not set(names) <= set(joints):
        return False
    left, right, left_end, right_end = (joints[n] for n in names)
    own = np.linalg.norm(left - left_end) + np.linalg.norm(right - right_end)
    exchanged = np.linalg.norm(left - right_end) + np.linalg.norm(right - left_end)
    return bool(own > CROSSING * exchanged)


def faults_of_box(record: Record, person: int, points: np.ndarray, size: tuple[int, int] | None) -> Iterator[str]:
    """What is wrong with one person's box and area."""
    assert record.boxes is not None
    box = np.asarray(record.boxes[person], dtype=float)
    room = MARGIN * (box[2:] - box[:2])
    outside = ((points < box[:2] - room) | (points > box[2:] + room)).any(axis=1)
    yield from ['joints outside the box'] * int(np.count_nonzero(outside))
    if size is not None and ((box[:2] < -0.5) | (box[2:] > np.array(size) + 0.5)).any():
        yield 'a box beyond the picture'
    share = 0.5 if record.areas is None else float(record.areas[person] / max(box_areas(box[None])[0], 1e-9))
    if share > LARGE + 1e-6:
        yield 'an area larger than the box'
    elif share < SMALL:
        yield 'an area of nearly nothing'


# --- the set as a whole -----------------------------------------------------------------------------------------------


def findings(facts: Facts, patients: Sequence[Patient]) -> Iterator[Finding]:
    """What is to be told of a source: counts by kind, then pictures, ids and flags."""
    yield Finding(str(facts.report))
    for kind, (_, remedy) in KINDS.items():
        ill = [p for p in patients if p.faults[kind]]
        if ill:
            share = percent(len(ill) / max(facts.people, 1))
            yield Finding(f'{kind}: {len(ill):,} people ({share}): {some([p.name for p in ill])}', remedy, LOOK)
    if facts.unreadable:
        yield Finding(
            f'{len(facts.unreadable)} pictures cannot be read: {some(facts.unreadable)}', 'Fetch them again', LOOK
        )
    yield from repeated(facts)
    yield from flags(facts)


def repeated(facts: Facts) -> Iterator[Finding]:
    """Pictures of the same pixels, and people of the same number."""
    by_pixels: defaultdict[bytes, list[str]] = defaultdict(list)
    for place, digest in facts.digests.items():
        by_pixels[digest].append(place.name)
    twice = [' = '.join(names) for names in by_pixels.values() if len(names) > 1]
    if twice:
        yield Finding(
            f'{len(twice)} pictures are there twice: {some(twice)}', 'Keep one of each, with all its people', LOOK
        )
    numbers = Counter(int(n) for r in facts.records if r.numbers is not None for n in r.numbers)
    again = [str(n) for n, count in numbers.items() if count > 1]
    if again:
        yield Finding(
            f'{len(again)} numbers of people are given twice: {some(again)}', 'Give each person its own id', LOOK
        )


def flags(facts: Facts) -> Iterator[Finding]:
    """Whether the flags of joints say anything."""
    every = [np.zeros(0, np.uint8), *(r.visible.ravel() for r in facts.records)]
    counts = np.bincount(np.concatenate(every), minlength=3)
    names = ('not labelled', 'occluded', 'visible')
    total = max(int(counts.sum()), 1)
    yield Finding('joints: ' + ', '.join(f'{percent(n / total)} {name}' for n, name in zip(counts, names, strict=True)))
    never = [joint for k, joint in enumerate(facts.skeleton.joints)
             if facts.records and not any((r.visible[:, k] > 0).any() for r in facts.records)]  # fmt: skip
    if never:
        yield Finding(f'never labelled: {", ".join(never)}', 'Is this the skeleton of that set?', LOOK)


# --- the page ---------------------------------------------------------------------------------------------------------


def write_page(
    out: Path, environment: Iterable[Finding], sets: Sequence[tuple[Facts, list[Patient]]], count: int
) -> None:
    """One self-contained HTML page: every finding, and the worst `count` people of each source drawn."""
    body = section('Environment', bullets([str(f).strip() for f in environment]))
    for facts, patients in sets:
        told = bullets([str(f).strip() for f in findings(facts, patients)])
        worst = figures([(caption(p), portrait(p, facts.skeleton)) for p in patients[:count]])
        body += section(facts.title, f'{told}<h3>The worst {min(count, len(patients))} of {len(patients)}</h3>{worst}')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page('What looks wrong', body), encoding='utf-8')


def caption(patient: Patient) -> str:
    faults = ', '.join(kind + (f' ({count})' if count > 1 else '') for kind, count in patient.faults.most_common())
    return escape(f'{patient.name}: {faults}')


def portrait(patient: Patient, skeleton: Skeleton) -> np.ndarray:
    """A person cut out of their picture with some room, joints and box drawn."""
    record, n = patient.record, patient.person
    try:
        image = read_image(record.path, span=record.span)
    except ImageError:
        image = np.full((64, 64, 3), 128, np.uint8)
    poses = Poses.of_record(record.keypoints[n : n + 1].astype(float), record.visible[n : n + 1])
    low, high = shown_part(record, n, image.shape[1::-1])
    moved = poses.moved(np.array([[1.0, 0, -low[0]], [0, 1.0, -low[1]], [0, 0, 1.0]]))
    boxes = None if record.boxes is None else np.asarray(record.boxes[n : n + 1], dtype=float) - np.tile(low, 2)
    cut = image[low[1] : high[1], low[0] : high[0]]
    return draw_poses(cut, Poses(moved.keypoints, poses.scores, poses.person_scores, boxes=boxes), skeleton, 0.5)


def shown_part(record: Record, person: int, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Corners (2,) of what is shown of a picture of `size`: joints and box, with room around them."""
    points = record.keypoints[person][record.visible[person] > 0]
    if record.boxes is not None:
        points = np.concatenate([points, np.asarray(record.boxes[person]).reshape(2, 2)])
    if not len(points):
        return np.zeros(2, int), np.array(size)
    low, high = extent(points)
    room = ROUND * max(float((high - low).max()), 16.0)
    edge = np.array(size)
    first = np.clip(np.floor(low - room), 0, edge - 2).astype(int)
    return first, np.maximum(np.clip(np.ceil(high + room), 0, edge).astype(int), first + 2)
