"""What a config's data sets hold, and what looks wrong with them: counts, pictures, joints, sizes, left and right."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from poseplug.datasets.images import Place, read_image
from poseplug.datasets.sources.base import Report
from poseplug.errors import ImageError
from poseplug.progress import track
from poseplug.registry import SOURCES
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

SPLITS = ('train', 'val', 'test')
SHOWN = 5  # names of pictures that a finding lists
OUTSIDE = 0.05  # share of labelled joints beyond the picture from which something is wrong
CROSSED = 0.2  # share of people whose shoulders and hips disagree on left and right
OWN_SIDE = 0.8  # least share of elbows and knees that lie nearer to their own shoulder or hip
ONE_SIDED = 0.1  # observer-centric: at most this share of people may have it the other way round
FRONT = (0.2, 0.99)  # person-centric: shares of people whose left is at the right, as of somebody seen from the front


@dataclass(frozen=True)
class Sides:
    """Left and right, judged in the frame of the torso, so that it does not matter how a person lies in the picture.

    `front` is the share of people whose left shoulder lies at the right, as somebody's who faces the camera; `crossed`
    the share whose hips say the opposite of the shoulders; `own` the share of elbows and knees that lie nearer to their
    own side's shoulder or hip than to the other's. `people` were judged. NaN where nobody could be.
    """

    people: int
    front: float
    crossed: float
    own: float


@dataclass
class Facts:
    """What one source holds. `sizes` (width, height) and `digests` of the pixels are by the pictures' places."""

    title: str
    report: Report
    skeleton: Skeleton
    records: list[Record]
    sizes: dict[Place, tuple[int, int]] = field(default_factory=dict)
    digests: dict[Place, bytes] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @property
    def labelled(self) -> int:
        return int(sum((r.visible > 0).sum() for r in self.records))

    @property
    def occluded(self) -> int:
        return int(sum((r.visible == 1).sum() for r in self.records))

    @property
    def people(self) -> int:
        return sum(len(r.keypoints) for r in self.records)


def verify(cfg: Mapping[str, Any], workers: int = 2) -> list[Facts]:
    """Read every source of a config once, with all its pictures. An absent data set is the source's own error."""
    loaded = [(title, source, *source.load()) for title, source in sources_of(cfg)]
    found = [Facts(title, report, source.skeleton, records) for title, source, records, report in loaded]
    for facts in found:
        look(facts, workers)
    return found


def sources_of(cfg: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Every distinct source of a config, with the splits that use it: `val, test: LSPSource half=test`."""
    titles: dict[str, list[str]] = {}
    specs: dict[str, Any] = {}
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        given = loader['dataset']['sources'] if loader else []
        for spec in given if isinstance(given, Sequence) else [given]:
            name = described(spec)
            specs[name] = spec
            titles.setdefault(name, []).append(split)
    return [(f'{", ".join(titles[name])}: {name}', SOURCES.build(spec)) for name, spec in specs.items()]


def described(spec: Any) -> str:
    """A source's type and settings in a line."""
    if not isinstance(spec, Mapping):
        return type(spec).__name__
    return ' '.join([str(spec['type']), *(f'{k}={v}' for k, v in spec.items() if k != 'type')])


def look(facts: Facts, workers: int) -> None:
    """Decode every picture, once."""
    places = list(dict.fromkeys(r.place for r in facts.records))
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for place, seen in zip(
            places, track(pool.map(_seen, places), 'reading pictures', len(places), 'picture'), strict=True
        ):
            if isinstance(seen, ImageError):
                facts.unreadable.append(str(seen))
            else:
                facts.sizes[place], facts.digests[place] = seen


def _seen(place: Place) -> tuple[tuple[int, int], bytes] | ImageError:
    """Size (width, height) and digest of a picture, or why it cannot be read."""
    try:
        image = read_image(place.path, span=place.span)
    except ImageError as error:
        return error
    return (image.shape[1], image.shape[0]), hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def outside(facts: Facts) -> list[str]:
    """Labelled joints that lie beyond the border of their picture, as `im0001.jpg left_ankle (3.0, -4.2)`."""
    found = []
    for record in facts.records:
        if record.place in facts.sizes:
            beyond = (record.keypoints < -0.5) | (record.keypoints > np.array(facts.sizes[record.place]) - 0.5)
            for person, joint in np.argwhere(beyond.any(axis=-1) & (record.visible > 0)):
                x, y = record.keypoints[person, joint]
                found.append(f'{record.id} {facts.skeleton.joints[joint]} ({x:.1f}, {y:.1f})')
    return found


def heights(records: Iterable[Record]) -> np.ndarray:
    """(N,) px: the larger extent of the labelled joints of everybody with two of them."""
    spans = [np.ptp(k[v > 0], axis=0).max() for r in records for k, v in zip(r.keypoints, r.visible, strict=True)
             if (v > 0).sum() > 1]  # fmt: skip
    return np.array(spans, dtype=float)


def sides(records: Iterable[Record], skeleton: Skeleton) -> Sides | None:
    """How left and right lie; None for a skeleton without shoulders and hips of both sides."""
    names = [f'{side}_{part}' for part in ('shoulder', 'hip') for side in ('left', 'right')]
    if not set(names) <= set(skeleton.joints):
        return None
    everybody = list(records)
    empty = np.zeros((0, len(skeleton)))
    points = np.concatenate([empty[..., None].repeat(2, -1), *(r.keypoints for r in everybody)]).astype(float)
    known = np.concatenate([empty, *(r.visible for r in everybody)]) > 0
    whole = known[:, [skeleton.index(n) for n in names]].all(axis=1)
    ls, rs, lh, rh = (points[whole, skeleton.index(n)] for n in names)
    up = (ls + rs - lh - rh) / 2
    across = np.stack([-up[:, 1], up[:, 0]], axis=1)  # to the right of somebody upright
    length = (up**2).sum(axis=1)
    shoulders, hips = (((left - right) * across).sum(axis=1) for left, right in ((ls, rs), (lh, rh)))
    clear = np.minimum(abs(shoulders), abs(hips)) > 0.1 * length  # seen from the side, neither can be told
    front, crossed = shoulders[clear] > 0, (shoulders * hips)[clear] < 0
    return Sides(int(clear.sum()), share(front), share(crossed), share(own_sides(points, known, skeleton)))


def own_sides(points: np.ndarray, known: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(M,) for every elbow and knee that can be judged: is it nearer to its own side's shoulder or hip?"""
    nearer = [np.zeros(0, bool)]
    for root, joint in (('shoulder', 'elbow'), ('hip', 'knee')):
        for side, other in (('left', 'right'), ('right', 'left')):
            names = (f'{side}_{joint}', f'{side}_{root}', f'{other}_{root}')
            if set(names) <= set(skeleton.joints):
                places = [skeleton.index(n) for n in names]
                end, own, strange = points[known[:, places].all(axis=1)][:, places].swapaxes(0, 1)
                nearer.append(np.linalg.norm(end - own, axis=1) <= np.linalg.norm(end - strange, axis=1))
    return np.concatenate(nearer)


def share(flags: np.ndarray) -> float:
    return float(flags.mean()) if len(flags) else float('nan')


# --- what is wrong ----------------------------------------------------------------------------------------------------


def problems(facts: Facts) -> Iterator[str]:
    """What is wrong with one source, a line each."""
    if not facts.records:
        yield 'nobody is left'
    if facts.unreadable:
        yield from (f'unreadable: {told}' for told in facts.unreadable)
    beyond = outside(facts)
    if len(beyond) > OUTSIDE * facts.labelled:
        yield f'{percent(len(beyond) / facts.labelled)} of the joints lie outside their picture: {some(beyond)}'
    points = [r.id for r in facts.records for k, v in zip(r.keypoints, r.visible, strict=True)
              if (v > 0).sum() > 2 and np.ptp(k[v > 0], axis=0).max() == 0]  # fmt: skip
    if points:
        yield f'{len(points)} people have all their joints in one point: {some(points)}'
    judged = sides(facts.records, facts.skeleton)
    if judged is not None and judged.people >= 20:
        yield from side_problems(judged, facts.skeleton.centric)


def side_problems(judged: Sides, centric: str) -> Iterator[str]:
    """What is implausible about left and right."""
    if judged.crossed > CROSSED:
        yield f'shoulders and hips disagree on left and right in {percent(judged.crossed)} of the people'
    if judged.own < OWN_SIDE:
        yield f'only {percent(judged.own)} of elbows and knees lie nearer to the shoulder or hip of their own side'
    mixed = min(judged.front, 1 - judged.front)
    if centric == 'observer' and mixed > ONE_SIDED:
        yield f'the labels are said to be observer-centric, but left and right lie the other way in {percent(mixed)}'
    if centric == 'person' and not FRONT[0] <= judged.front <= FRONT[1]:
        yield (
            f'the labels are said to be person-centric, but the left shoulder lies at the right, as of somebody seen '
            f'from the front, in {percent(judged.front)} of the people: they may be observer-centric, or mirrored'
        )


def leaks(found: Sequence[Facts]) -> list[str]:
    """Pictures that are both trained on and tested on, by their pixels."""
    train = {d: p for f in found if f.title.startswith('train') for p, d in f.digests.items()}
    test = {d: p for f in found if 'test' in f.title.partition(':')[0] for p, d in f.digests.items()}
    return [f'{train[d]} is {test[d]}' for d in train if d in test]


# --- to read ----------------------------------------------------------------------------------------------------------


def lines(facts: Facts) -> Iterator[str]:
    """A source's facts, a line each."""
    yield facts.title
    yield f'  {facts.report}'
    if facts.sizes:
        sizes = np.array(list(facts.sizes.values()))
        (w0, h0), (w1, h1), (w, h) = sizes.min(axis=0), sizes.max(axis=0), np.median(sizes, axis=0)
        yield f'  pictures     {len(sizes):,}; {w0} to {w1} px wide, {h0} to {h1} px high, median {w:.0f} x {h:.0f}'
    beyond = outside(facts)
    if facts.labelled:
        yield (
            f'  joints       {facts.labelled:,} labelled, {percent(facts.occluded / facts.labelled)} of them occluded; '
            f'{len(beyond)} outside the picture{": " + some(beyond) if beyond else ""}'
        )
    tall = heights(facts.records)
    if len(tall):
        yield f'  people       {facts.people:,}; extent of the joints {spread(tall)}'
    scaled = [200 * s for r in facts.records if r.scales is not None for s in r.scales]
    if scaled:
        yield f'  scale        as height: {spread(np.array(scaled))}'
    judged = sides(facts.records, facts.skeleton)
    if judged is not None:
        yield (
            f'  left, right  {facts.skeleton.centric}-centric; of {judged.people:,} people not seen from the side '
            f'{percent(judged.front)} have their left at the right, as from the front; shoulders and hips disagree in '
            f'{percent(judged.crossed)}; {percent(judged.own)} of elbows and knees are nearer to their own side'
        )
    yield from (f'  WRONG        {problem}' for problem in problems(facts))


def spread(values: np.ndarray) -> str:
    """Least, 5 %, median, 95 % and largest, in px."""
    least, low, middle, high, most = np.quantile(values, (0, 0.05, 0.5, 0.95, 1))
    return f'{least:.0f} - {low:.0f} - {middle:.0f} - {high:.0f} - {most:.0f} px (least, 5 %, median, 95 %, most)'


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    more = f', ... and {len(names) - SHOWN:,} more' if len(names) > SHOWN else ''
    return ', '.join(names[:SHOWN]) + more


def percent(part: float) -> str:
    return f'{100 * part:.1f} %'
