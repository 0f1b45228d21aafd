"""People from peaks and part affinity fields (Cao et al. 2017, arXiv:1611.08050, section 2.3).

Peaks are found on the device; the limbs between them are scored, matched and put together in NumPy, whose calls cost
least on arrays as small as these. Positions are in cells until the end.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poseplug.errors import ConfigError, MismatchError
from poseplug.grouping.assembly import Assembly, surviving
from poseplug.grouping.limbs import every_pair, limbs_of, matched
from poseplug.grouping.peaks import PLACES, Peaks, find_peaks
from poseplug.grouping.presets import PRESETS, Rules, get_rules
from poseplug.poses import Poses
from poseplug.skeleton import Skeleton, get_skeleton

logger = logging.getLogger(__name__)
STEPS = ('peaks', 'pairs', 'limbs', 'people put together')


@dataclass(frozen=True)
class Parsed:
    """The people of one picture, with every number of the way there.

    `joints` (N, K) are the places of their peaks, -1 where they have none; `scores` (N,) of the people; `peaks`, and
    `counts`: pairs looked at, limbs, people put together, and of those the dropped ones by cause.
    """

    joints: np.ndarray
    scores: np.ndarray
    peaks: Peaks
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        dropped = [f'{n} {why}' for why, n in self.counts.items() if why not in STEPS and n]
        steps = ', '.join(f'{self.counts[name]} {name}' for name in STEPS)
        return f'{len(self.joints)} people: {steps}' + (f'; dropped: {", ".join(dropped)}' if dropped else '')

    def poses(self, stride: tuple[float, float] = (1.0, 1.0), offset: float = 0.0) -> Poses:
        """The people, where cell g stands at `stride` g + `offset` px. A missing joint scores 0.

        It stands amid the joints of its person, so that it says nothing and widens no box.
        """
        found = self.joints >= 0
        cells = np.concatenate([self.peaks.cells, np.zeros((1, 2), np.float32)])[self.joints]
        values = np.concatenate([self.peaks.scores, np.zeros(1, np.float32)])[self.joints]
        points = cells * np.array(stride, np.float32) + np.float32(offset)
        low = np.where(found[..., None], points, np.inf).min(axis=1)
        high = np.where(found[..., None], points, -np.inf).max(axis=1)
        amid = points.sum(axis=1, where=found[..., None]) / np.maximum(found.sum(axis=1), 1)[:, None]
        return Poses(
            keypoints=np.where(found[..., None], points, amid[:, None]).astype(np.float32),
            scores=np.clip(np.where(found, values, 0), 0, 1),
            person_scores=self.scores.astype(np.float32),
            visibility=np.where(found, 2, 0).astype(np.uint8),
            boxes=np.concatenate([low, high], axis=1).astype(np.float32),
        )


def parse(
    fields: Mapping[str, Any],
    skeleton: Skeleton | str,
    preset: Rules | str | Mapping[str, Any] = 'cpp',
    stride: float = 8.0,
    offset: float = 3.5,
    refine: str = 'centroid',
    kernel: int = 11,
) -> list[Poses]:
    """The people of fields that were computed anywhere: arrays or tensors, of one picture or of several.

    Args:
        fields: 'heatmap' (K or K + 1, H, W), one map a joint of the skeleton in its order, the background last, and
            'paf' (2 L, H, W), x and y of each of `skeleton.limbs` in turn; or both with a batch in front.
        skeleton: its name, such as 'coco18'.
        preset: the rules of a released parser, see `PRESETS`.
        stride, offset: cell g stands at input pixel `stride` g + `offset`.
        refine: how peaks are placed between cells: 'centroid', the released library's, or one of
            `poseplug.codecs.refine`; `kernel` is the blur of 'dark'.

    Returns:
        The people of each picture in input pixels, best first.
    """
    skeleton = get_skeleton(skeleton)
    maps = checked({n: m[None] if m.ndim == 3 else m for n, m in fields.items()}, skeleton)
    if refine not in PLACES:
        raise ConfigError(f'peaks are placed by one of {PLACES}; got {refine!r}')
    joints, rules = maps['heatmap'][:, : len(skeleton)], get_rules(preset)
    found = parse_maps(joints, maps['paf'], skeleton, rules, stride, refine, kernel)
    return [parsed.poses((stride, stride), offset) for parsed in found]


def checked(fields: Mapping[str, Any], skeleton: Skeleton) -> dict[str, Tensor]:
    """Fields (B, C, H, W) in single precision, if they have the channels of the skeleton, and one grid."""
    joints, limbs = len(skeleton), len(skeleton.limbs)
    maps = {n: torch.as_tensor(fields[n]).detach().float() for n in ('heatmap', 'paf') if n in fields}
    heat, paf = (tuple(maps[n].shape) if n in maps else None for n in ('heatmap', 'paf'))
    fits = heat and paf and len(heat) == len(paf) == 4 and heat[0] == paf[0] and heat[2:] == paf[2:]
    if not (fits and heat and heat[1] in (joints, joints + 1) and paf and paf[1] == 2 * limbs):
        raise MismatchError(
            f'fields of {skeleton.name!r} are a heatmap of {joints} channels (or {joints + 1}, with background) and a '
            f'paf of {2 * limbs}, (channels, rows, columns) of one size; got heatmap {heat} and paf {paf}'
        )
    return maps


def parse_maps(
    maps: Tensor,
    paf: Tensor,
    skeleton: Skeleton,
    rules: Rules,
    stride: float,
    how: str = 'none',
    kernel: int = 11,
    raw: Tensor | None = None,
) -> list[Parsed]:
    """The people of every picture: maps (B, K, H, W) and fields (B, 2 L, H, W), float32, by the rules and the next.

    The rules `again` have their try where nobody was found; why, is in the log.
    """
    peaks = find_peaks(maps, rules.peak, rules.most, how, kernel, rules.apart / stride, raw)
    vectors = paf.cpu().numpy()
    found = [
        assemble(peaks.of_picture(i, len(skeleton)), vectors[i], skeleton, rules, stride) for i in range(len(maps))
    ]
    lost = [i for i, parsed in enumerate(found) if not len(parsed.joints)]
    for i in lost:
        logger.info('picture %d: %s', i, found[i])
    if lost and rules.again:
        rest = None if raw is None else raw[lost]
        more = parse_maps(maps[lost], paf[lost], skeleton, PRESETS[rules.again], stride, how, kernel, rest)
        found = [more[lost.index(i)] if i in lost else parsed for i, parsed in enumerate(found)]
    return found


def assemble(peaks: Peaks, paf: np.ndarray, skeleton: Skeleton, rules: Rules, stride: float = 8.0) -> Parsed:
    """The people of one picture: its peaks, sorted by joint, and fields (2 L, H, W) to who has which of them."""
    pairs = every_pair(peaks, skeleton)
    limbs, scores = limbs_of(pairs, peaks.cells, paf, rules, stride)
    chosen = matched(limbs, scores, len(skeleton.limbs), rules.match)
    people = Assembly(skeleton, peaks, rules)
    for step in skeleton.assembly:
        people.add(step, chosen[step.limb])
    if rules.lone == 'every' or not skeleton.limbs:
        people.alone(range(len(skeleton)))
    if rules.gather:
        people.gather(peaks.cells, rules.gather)
    counts = Counter({'peaks': len(peaks), 'pairs': len(pairs), 'limbs': sum(map(len, chosen))})
    joints, sums = people.table()
    counts['people put together'] = len(joints)
    kept = surviving(joints, sums, skeleton, rules, counts)
    scores = np.clip(sums[kept] / (len(skeleton) + len(skeleton.limbs)), 0, 1)
    order = np.argsort(-scores, kind='stable')
    return Parsed(joints[kept][order], scores[order], peaks, counts)
