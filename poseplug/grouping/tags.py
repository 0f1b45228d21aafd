"""People from peaks and tags, the numbers that tell people apart (Newell et al. 2017, arXiv:1611.05424, section 3.2).

Peaks are found, and missing joints looked for, on the device of the maps; peaks are matched in NumPy. Positions are in
cells until the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from poseplug.codecs.refine import largest
from poseplug.errors import ConfigError, MismatchError
from poseplug.grouping.paf import Parsed
from poseplug.grouping.peaks import Peaks, best, refined, summits
from poseplug.poses import Poses

TIE = 1e-3  # of the distance of two tags, beside its whole number and the score: it decides where these are equal
CHUNK = 2**22  # numbers looked through at once for missing joints


@dataclass(frozen=True)
class TagRules:
    """What counts as a peak, and whose it is.

    A peak is above `threshold`, the largest cell of the square of `window` cells around it, and among the `candidates`
    largest of its map. It is no part of a person whose mean tag is `apart` or more from its own. Of the people the
    `most` best count. With `fill` the joints that they lack are looked for where the tags are nearest to theirs.
    """

    threshold: float = 0.1
    window: int = 5
    candidates: int = 30
    apart: float = 1.0
    most: int = 30
    fill: bool = True

    def __post_init__(self) -> None:
        if self.window < 3 or self.window % 2 == 0:
            raise ConfigError(f'tags: window is odd and at least 3, in cells; got {self.window}')
        if self.threshold < 0:
            raise ConfigError(f'tags: threshold is not negative; got {self.threshold}')
        for name in ('candidates', 'apart', 'most'):
            if not getattr(self, name) > 0:
                raise ConfigError(f'tags: {name} is positive; got {getattr(self, name)}')


class Groups(NamedTuple):
    """People: `joints` (N, K), the places of their peaks, -1 where they have none; `tags` (N, D), the mean of theirs.

    `scores` (N,) are the mean of their peaks' over all joints.
    """

    joints: np.ndarray
    tags: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Tagged:
    """The people of several pictures, with every number of the way there.

    `found` holds their joints, of the `peaks` of all pictures; of these the first `drawn` are peaks, and the others
    were filled in. `images` (N,) says whose picture it is.
    """

    found: Parsed
    images: np.ndarray
    drawn: int
    threshold: float

    def poses(self, stride: tuple[float, float] = (1.0, 1.0), offset: float = 0.0) -> Poses:
        """The people, where cell g stands at `stride` g + `offset` px.

        The visibility of a joint is 2 for a peak, 1 for one that was filled in from cells above the threshold, and
        otherwise 0: that one widens no box.
        """
        joints, scores = self.found.joints, self.found.peaks.scores
        sure = (joints >= 0) & (joints < self.drawn)
        seen = sure | ((joints >= 0) & (np.append(scores, 0)[joints] > self.threshold))
        boxes = replace(self.found, joints=np.where(seen, joints, -1)).poses(stride, offset).boxes
        everything = self.found.poses(stride, offset)
        visibility = (seen.astype(np.uint8) + sure).astype(np.uint8)
        rated = np.clip(everything.person_scores, 0, 1)
        return replace(everything, person_scores=rated, visibility=visibility, boxes=boxes, images=self.images)


def parse_tags(
    maps: Tensor,
    tags: Tensor,
    order: Sequence[int],
    rules: TagRules = TagRules(),  # noqa: B008 - it is frozen
    how: str = 'none',
    kernel: int = 11,
    raw: Tensor | None = None,
) -> Tagged:
    """The people of every picture, best first: maps (B, K, H, W) and tags (B, D K, H, W), float32.

    `order` has the places of the joints as people are put together. Scores are the values of `raw` maps, if these were
    smoothed; peaks are placed between the cells by `how`, with a blur of `kernel` for 'dark' and 'udp'. Joints that are
    filled in, which are no peaks, stay in their cells.
    """
    marks, values = by_joint(tags, maps), (maps if raw is None else raw).flatten(2).flatten(0, 1)
    peaks, numbers = tagged_peaks(maps, marks, values, rules, how, kernel)
    people, images, counts = grouped(peaks, numbers, maps.shape[:2], order, rules)
    drawn = len(peaks)
    if rules.fill and (people.joints < 0).any():
        people, peaks = filled(people, images, peaks, marks, values, maps.shape[-1])
    return Tagged(Parsed(people.joints, people.scores, peaks, counts), images, drawn, rules.threshold)


def by_joint(tags: Tensor, maps: Tensor) -> Tensor:
    """Tags (B, D K, H, W), one map a joint for each dimension in turn, as (B K, D, H W), if they fit the maps."""
    batch, joints, *size = maps.shape
    if tags.shape[0] != batch or list(tags.shape[2:]) != size or not tags.shape[1] or tags.shape[1] % joints:
        raise MismatchError(
            f'tags are one map, or several, for each of the {joints} maps of {tuple(size)} cells (rows, columns) of '
            f'{batch} pictures; got tags of {tuple(tags.shape)}'
        )
    shape = (batch, tags.shape[1] // joints, joints, size[0] * size[1])
    return tags.reshape(shape).transpose(1, 2).flatten(0, 1)


def tagged_peaks(
    maps: Tensor, tags: Tensor, values: Tensor, rules: TagRules, how: str, kernel: int
) -> tuple[Peaks, np.ndarray]:
    """Peaks of maps (B, K, H, W), of each map the largest first, and the tag (M, D) of each.

    `tags` (B K, D, H W) and `values` (B K, H W) are by joint; the scores are `values`.
    """
    maps = maps.contiguous()
    width, size = maps.shape[-1], values.shape[1]
    places = of_squares(maps, summits(maps, rules.threshold), rules.window)
    places = best(maps.flatten(), places, size, rules.candidates)
    channels, inside = places.div(size, rounding_mode='floor'), places % size
    cells = torch.stack([inside % width, inside.div(width, rounding_mode='floor')], dim=-1)
    cells = refined(maps.flatten(0, 1), channels, cells, how, kernel)
    columns = [cells.double(), values[channels, inside].double()[:, None], channels[:, None], tags[channels, :, inside]]
    table = torch.cat([column.double() for column in columns], dim=1).cpu().numpy()
    table = table[np.lexsort([-table[:, 2], table[:, 3]])]
    scores, channel = table[:, 2].astype(np.float32), table[:, 3].astype(np.int64)
    return Peaks(table[:, :2].astype(np.float32), scores, channel), table[:, 4:]


def of_squares(maps: Tensor, places: Tensor, window: int) -> Tensor:
    """Of the places (M,) in flattened maps (B, K, H, W) those that are the largest of `window` x `window` cells."""
    if window <= 3:
        return places
    height, width = maps.shape[-2:]
    steps = torch.arange(-(window // 2), window // 2 + 1, device=maps.device)
    column, row = places % width, places.div(width, rounding_mode='floor') % height
    columns = (column[:, None] + steps).clamp(0, width - 1) - column[:, None]
    rows = (row[:, None] + steps).clamp(0, height - 1) - row[:, None]
    around = places[:, None, None] + rows[:, :, None] * width + columns[:, None, :]
    flat = maps.flatten()
    return places[flat[places] >= flat[around].flatten(1).amax(dim=1)]


def grouped(
    peaks: Peaks, tags: np.ndarray, shape: Sequence[int], order: Sequence[int], rules: TagRules
) -> tuple[Groups, np.ndarray, Counter[str]]:
    """The people of all pictures, (B, K) as the `shape` says, best first; the picture (N,) of each; and what counts."""
    batch, joints = shape
    starts = np.searchsorted(peaks.channels, np.arange(batch * joints + 1))
    groups = [Groups(np.zeros((0, joints), int), np.zeros((0, tags.shape[1])), np.zeros(0))]
    counts = Counter({'peaks': len(peaks)})
    for i in range(batch):
        people = group(peaks.scores, tags, starts[i * joints : (i + 1) * joints + 1], order, rules.apart)
        kept = np.argsort(-people.scores, kind='stable')[: rules.most]
        counts.update({'people put together': len(people.scores), 'beyond the most': len(people.scores) - len(kept)})
        groups.append(Groups(*(part[kept] for part in people)))
    images = np.repeat(np.arange(batch), [len(g.scores) for g in groups[1:]])
    return Groups(*map(np.concatenate, zip(*groups, strict=True))), images, counts


def group(scores: np.ndarray, tags: np.ndarray, starts: np.ndarray, order: Sequence[int], apart: float) -> Groups:
    """The people of one picture, in the order in which they are begun.

    Args:
        scores, tags: (M,) and (M, D) of all peaks.
        starts: (K + 1,) where the peaks of each joint begin among them, and the last end.
        order: the joints as people are put together.
        apart: a peak and a person whose mean tag is that far are not matched.

    Joint by joint the peaks are shared out among the people so that the sum of the distances, as whole numbers, is
    least, and of as good ones that of the surest peaks. Who gets none is a person of their own.
    """
    size = starts[-1] - starts[0]
    joints = np.full((size, len(starts) - 1), -1)
    sums, found, people = np.zeros((size, tags.shape[1])), np.zeros(size, int), 0
    for joint in order:
        mine = np.arange(starts[joint], starts[joint + 1])
        if not len(mine):
            continue
        means = sums[:people] / found[:people, None]
        who = shared_out(tags[mine], scores[mine], means, apart)
        new = who < 0
        who[new] = people + np.arange(new.sum())
        people += int(new.sum())
        joints[who, joint] = mine
        sums[who] += tags[mine]
        found[who] += 1
    joints = joints[:people]
    total = np.where(joints >= 0, scores[joints], 0).sum(axis=1) if people else np.zeros(0)
    return Groups(joints, sums[:people] / found[:people, None], total / max(len(starts) - 1, 1))


def shared_out(tags: np.ndarray, scores: np.ndarray, means: np.ndarray, apart: float) -> np.ndarray:
    """(M,) which of the people, of mean tags (N, D), gets each of the peaks (M, D), or -1."""
    who = np.full(len(tags), -1)
    if not len(means):
        return who
    from scipy.optimize import linear_sum_assignment  # it is slow to import, and not wanted before

    far = np.linalg.norm(tags[:, None] - means[None], axis=2)
    rows, columns = linear_sum_assignment(100 * np.round(far) + TIE * far - scores[:, None])
    near = far[rows, columns] < apart
    who[rows[near]] = columns[near]
    return who


def filled(
    people: Groups, images: np.ndarray, peaks: Peaks, tags: Tensor, values: Tensor, width: int
) -> tuple[Groups, Peaks]:
    """The people with every joint, and the peaks with those that were filled in behind them, in whole cells."""
    count = people.joints.shape[1]
    person, joint = np.nonzero(people.joints < 0)
    channels = images[person] * count + joint
    there = torch.from_numpy(channels).to(values.device)
    places = nearest_cells(values, tags, there, torch.from_numpy(people.tags[person]).to(tags))
    scores, chosen = values[there, places].float().cpu().numpy(), places.cpu().numpy()
    cells = np.stack([chosen % width, chosen // width], axis=-1).astype(np.float32)
    joints = people.joints.copy()
    joints[person, joint] = len(peaks) + np.arange(len(person))
    own = (peaks.cells, peaks.scores, peaks.channels)
    parts = (cells, scores, channels)
    return people._replace(joints=joints), Peaks(*(np.concatenate(p) for p in zip(own, parts, strict=True)))


def nearest_cells(values: Tensor, tags: Tensor, channels: Tensor, means: Tensor) -> Tensor:
    """(P,) the place in each of the maps `channels` (P,) where the tag is nearest to a person's mean (P, D).

    Distances count as whole numbers: of as near cells it is the one of the largest value. From values (C, H W) and tags
    (C, D, H W).
    """
    places = []
    size = max(1, CHUNK // max(tags[:1].numel(), 1))
    for channel, mean in zip(channels.split(size), means.split(size), strict=True):
        away = tags.index_select(0, channel).sub_(mean[:, :, None])
        far = away[:, 0].abs_() if away.shape[1] == 1 else torch.linalg.vector_norm(away, dim=1)
        near = far.round_().mul_(-100).add_(values.index_select(0, channel))
        places.append(largest(near)[0])
    return torch.cat(places)
