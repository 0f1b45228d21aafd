"""Keypoints, limbs, flip pairs and normalizers of one annotation scheme: names, not indices."""

from __future__ import annotations

__all__ = ['LimbStep', 'Skeleton', 'merge_skeletons']

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np

from poseplug.core.errors import ConfigError, suggest_closest
from poseplug.core.skeleton_checks import (
    KeypointPair,
    check_skeleton_fields,
    find_one_sided_keypoints,
    find_unpaired_sides,
    freeze_skeleton_fields,
    infer_flip_pairs,
)


class LimbStep(NamedTuple):
    """One step in grouping keypoints to instances: a limb, and the direction in which it is followed.

    Attributes:
        limb: index of the limb.
        start: index of the keypoint that it comes from.
        end: index of the keypoint that it leads to.
        redundant: whether the limb only adds a missing end to an instance and starts none.
    """

    limb: int
    start: int
    end: int
    redundant: bool


@dataclass(frozen=True)
class Skeleton:
    """An annotation scheme: what its keypoints are called and what connects them.

    Attributes:
        name: under which it is registered.
        keypoints: the K names, in the order of the arrays.
        limbs: pairs of keypoints, in the order of the channels of limb fields.
        flip_pairs: the left-right pairs that flipping an image exchanges; without any, those that the names of the
            keypoints imply ('left_eye' and 'right_eye'), with a line in the log.
        torso: the two keypoints whose distance normalizes PCK.
        head: the two keypoints whose distance normalizes PCKh.
        sigmas: the OKS constants, one per keypoint.
        centric: whose left is meant: that of the 'person' or of the 'observer'.
        groups: names of keypoints by group, for tables of scores.
        grouping_order: the limbs in the order in which keypoints are grouped to instances, each from its start to its
            end; by default along a tree, see `limb_steps`.
        redundant_limbs: limbs that only add a missing end to an instance and start none.
        derived_keypoints: keypoints that are the mean of others, for data sets that do not annotate them.

    Raises:
        ConfigError: a name occurs twice or is unknown, a keypoint is paired with itself or with two others, or sigmas
            are not one positive number per keypoint.

    Example:
        >>> skeleton = Skeleton('face', ('left_eye', 'right_eye', 'nose'), flip_pairs=(('left_eye', 'right_eye'),))
        >>> skeleton.index('nose'), skeleton.flip_indices.tolist()
        (2, [1, 0, 2])
    """

    name: str
    keypoints: tuple[str, ...]
    limbs: tuple[KeypointPair, ...] = ()
    flip_pairs: tuple[KeypointPair, ...] = ()
    torso: KeypointPair | None = None
    head: KeypointPair | None = None
    sigmas: tuple[float, ...] | None = None
    centric: Literal['person', 'observer'] = 'person'
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    grouping_order: tuple[KeypointPair, ...] = ()
    redundant_limbs: tuple[KeypointPair, ...] = ()
    derived_keypoints: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_skeleton_fields(vars(self))
        # Lists and arrays would make equal skeletons differ, and comparing them fail.
        for field_name, value in freeze_skeleton_fields(vars(self)).items():
            object.__setattr__(self, field_name, value)
        if not self.flip_pairs and (flip_pairs := infer_flip_pairs(self.keypoints)):
            object.__setattr__(self, 'flip_pairs', flip_pairs)
            listed = ', '.join(f'{left} - {right}' for left, right in flip_pairs)
            message = 'skeleton %r has no flip_pairs; taken from the names of its keypoints: %s'
            logging.getLogger('poseplug').info(message, self.name, listed)
        elif unpaired := find_unpaired_sides(self.keypoints, self.flip_pairs):
            listed = ', '.join(f'{left} - {right}' for left, right in unpaired)
            message = 'skeleton %r: flip_pairs lack %s: flipping an image leaves their names as they are; add them'
            logging.getLogger('poseplug').warning(message, self.name, listed)
        if one_sided := find_one_sided_keypoints(self.keypoints, self.flip_pairs):
            message = 'skeleton %r: %s have no counterpart on the other side: images must not be flipped, nor tested so'
            logging.getLogger('poseplug').warning(message, self.name, ', '.join(one_sided))
        self._check_grouping_order()

    def __len__(self) -> int:
        return len(self.keypoints)

    def index(self, keypoint: str) -> int:
        """Return the index of a keypoint.

        Args:
            keypoint: its name.

        Raises:
            ConfigError: there is no such keypoint; the message suggests the closest.
        """
        if keypoint not in self.keypoints:
            hint = suggest_closest(keypoint, self.keypoints) or 'it has'
            raise ConfigError(f'skeleton {self.name!r} has no keypoint {keypoint!r}; {hint} {self.keypoints}')
        return self.keypoints.index(keypoint)

    def _check_grouping_order(self) -> None:
        """Raise unless `grouping_order` contains every limb once and `redundant_limbs` are limbs, in any direction."""
        limbs = [frozenset(limb) for limb in self.limbs]
        for setting in ('grouping_order', 'redundant_limbs'):
            for pair in getattr(self, setting):
                if frozenset(pair) not in limbs:
                    raise ConfigError(f'skeleton {self.name!r}: {setting} contains {pair}, which is not a limb')
        if self.grouping_order and sorted(map(sorted, self.grouping_order)) != sorted(map(sorted, self.limbs)):
            raise ConfigError(
                f'skeleton {self.name!r}: grouping_order must contain each of the {len(limbs)} limbs once'
            )

    @cached_property
    def flip_indices(self) -> np.ndarray:
        """(K,) for every keypoint the index of the one that it becomes in a flipped image; its own inverse."""
        order = np.arange(len(self))
        # Keypoints in no pair, such as the nose, become themselves.
        for left, right in self.flip_pairs:
            i, j = self.index(left), self.index(right)
            order[i], order[j] = j, i
        return order

    @cached_property
    def lower_body(self) -> np.ndarray:
        """(K,) bool, which keypoints belong to the legs or the hips, by their names."""
        # Half-body augmentation (HRNet) splits a person here; of the COCO keypoints these are the last six.
        parts = ('hip', 'knee', 'ankle', 'heel', 'toe', 'foot')
        return np.array([k == 'pelvis' or any(part in k.split('_') for part in parts) for k in self.keypoints])

    @cached_property
    def feet(self) -> np.ndarray:
        """(K,) bool, which keypoints belong to the feet, without the ankles, by their names."""
        return np.array([any(part in k.split('_') for part in ('heel', 'toe', 'foot')) for k in self.keypoints])

    @cached_property
    def limb_indices(self) -> np.ndarray:
        """(L, 2) the limbs as pairs of keypoint indices."""
        return np.array([[self.index(a), self.index(b)] for a, b in self.limbs], dtype=int).reshape(-1, 2)

    @cached_property
    def limb_steps(self) -> tuple[LimbStep, ...]:
        """The limbs in the order in which keypoints are grouped, each from the keypoint that is reached first.

        Without `grouping_order` the limbs are followed along a tree that grows from the keypoint with most limbs;
        limbs that close a cycle come last and are redundant.
        """
        # A stated order comes with its `redundant_limbs`; a grown tree adds the limbs that close a cycle.
        order, cycles = (self.grouping_order, ()) if self.grouping_order else _grow_limb_tree(self.limbs)
        limb_indices = {frozenset(limb): i for i, limb in enumerate(self.limbs)}
        redundant = {frozenset(limb) for limb in (*cycles, *self.redundant_limbs)}
        steps = []
        for start, end in order:
            limb = frozenset((start, end))
            steps.append(LimbStep(limb_indices[limb], self.index(start), self.index(end), limb in redundant))
        return tuple(steps)

    @cached_property
    def limb_groups(self) -> tuple[tuple[str, ...], ...]:
        """The keypoints that limbs connect, directly or over others; a keypoint without a limb is alone."""
        # All members of a group share one set object, so that merging two groups is one assignment per member.
        group_of = {name: {name} for name in self.keypoints}
        for a, b in self.limbs:
            group_of[a] |= group_of[b]
            group_of.update(dict.fromkeys(group_of[a], group_of[a]))
        return tuple(dict.fromkeys(tuple(k for k in self.keypoints if k in group) for group in group_of.values()))

    def convert_keypoints(
        self, source: Skeleton, keypoints: np.ndarray, visible: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Convert keypoints of another skeleton to this one, by name.

        A keypoint that `source` lacks is derived as the mean of others (`derived_keypoints`) if all of those are
        labeled, and is as visible as the least visible of them; otherwise it is not labeled.

        Args:
            source: the skeleton of the arrays.
            keypoints: (N, K of `source`, 2) px.
            visible: (N, K of `source`), 0 not labeled, 1 occluded, 2 visible.

        Returns:
            Keypoints (N, K, 2) float32 and visibilities (N, K) of this skeleton.
        """
        # The index -1 of an unknown keypoint reads the last one; both `np.where` replace what it read.
        indices = self.indices_in(source)
        is_known = indices >= 0
        points = np.where(is_known[None, :, None], keypoints[:, indices], 0).astype(np.float32)
        visibilities = np.where(is_known, visible[:, indices], 0)
        for keypoint in self.derivable_keypoints(source):
            k, parents = self.index(keypoint), [source.index(parent) for parent in self.derived_keypoints[keypoint]]
            visibilities[:, k] = visible[:, parents].min(axis=1)
            points[:, k] = np.where(visibilities[:, k, None] > 0, keypoints[:, parents].mean(axis=1), 0)
        return points, visibilities

    def defined_keypoints(self, source: Skeleton) -> np.ndarray:
        """Return which keypoints (K,) of this skeleton can be labeled in annotations of another one, as bool."""
        return (self.indices_in(source) >= 0) | np.isin(self.keypoints, self.derivable_keypoints(source))

    def derivable_keypoints(self, source: Skeleton) -> list[str]:
        """Return the keypoints that another skeleton lacks, but that its keypoints determine as their mean."""
        return [
            keypoint
            for keypoint, parents in self.derived_keypoints.items()
            if keypoint not in source.keypoints and set(parents) <= set(source.keypoints)
        ]

    def indices_in(self, other: Skeleton) -> np.ndarray:
        """Return for each keypoint (K,) of this skeleton the index of the same name in `other`, or -1."""
        # A copy, because the cached array belongs to all callers.
        return _match_names(self.keypoints, other.keypoints).copy()


@lru_cache(maxsize=256)
def _match_names(names: tuple[str, ...], others: tuple[str, ...]) -> np.ndarray:
    """For each name its index in `others`, or -1. A source asks this for every record."""
    return np.array([others.index(name) if name in others else -1 for name in names])


def _grow_limb_tree(limbs: tuple[KeypointPair, ...]) -> tuple[list[KeypointPair], list[KeypointPair]]:
    """All limbs along a tree from the keypoint with most of them, then those that close a cycle; and the latter alone.

    Pairs start with the keypoint that is reached first.
    """
    # Keypoints without a limb are in no tree, and in no group of more than one.
    degrees = Counter(keypoint for limb in limbs for keypoint in limb)
    reached: set[str] = set()
    order: list[KeypointPair] = []
    while len(reached) < len(degrees):
        directed = [pair for limb in limbs for pair in (limb, limb[::-1])]
        # 1. The first limb, in the skeleton's order, from a reached keypoint to one that is not.
        extensions = [(a, b) for a, b in directed if a in reached and b not in reached]
        if extensions:
            order.append(extensions[0])
            reached.add(extensions[0][1])
        else:
            # 2. None: the skeleton begins, or goes on in another piece, at the keypoint with most limbs.
            unreached = [keypoint for keypoint in degrees if keypoint not in reached]
            reached.add(max(unreached, key=lambda keypoint: degrees[keypoint]))
    # 3. A limb that was never followed connects two reached keypoints, and so closes a cycle.
    used = {frozenset(pair) for pair in order}
    cycles = [limb for limb in limbs if frozenset(limb) not in used]
    return order + cycles, cycles


def merge_skeletons(*skeletons: Skeleton) -> Skeleton:
    """Merge skeletons by name.

    Args:
        skeletons: of which the first counts where they differ.

    Returns:
        A skeleton with the keypoints of all, each name once, in the order of their first occurrence.

    Raises:
        ConfigError: some are person-centric and others observer-centric.
    """
    first = skeletons[0]
    if len(skeletons) == 1:
        return first
    if len({s.centric for s in skeletons}) > 1:
        kinds = ', '.join(f'{s.name!r} is {s.centric}-centric' for s in skeletons)
        raise ConfigError(f'{kinds}: left and right mean different things, so they cannot be merged')
    keypoints = tuple(dict.fromkeys(k for s in skeletons for k in s.keypoints))
    last_to_first = skeletons[::-1]  # so that the first skeleton wins in a dict
    # Not strict: a skeleton without sigmas has none to contribute.
    sigmas = {k: sigma for s in last_to_first for k, sigma in zip(s.keypoints, s.sigmas or (), strict=False)}
    limbs, flip_pairs = _unique_pairs(*(s.limbs for s in skeletons)), _unique_pairs(*(s.flip_pairs for s in skeletons))
    # For all keypoints or for none: OKS averages over all of them.
    merged_sigmas = tuple(sigmas[k] for k in keypoints) if set(keypoints) <= set(sigmas) else None
    name = '+'.join(s.name for s in skeletons)
    merged = Skeleton(name, keypoints, limbs, flip_pairs, sigmas=merged_sigmas, centric=first.centric)
    groups = {name: group for s in last_to_first for name, group in s.groups.items()}
    derived_keypoints = {k: parents for s in last_to_first for k, parents in s.derived_keypoints.items()}
    torso = next((s.torso for s in skeletons if s.torso), None)
    head = next((s.head for s in skeletons if s.head), None)
    return replace(merged, torso=torso, head=head, groups=groups, derived_keypoints=derived_keypoints)


def _unique_pairs(*pair_groups: tuple[KeypointPair, ...]) -> tuple[KeypointPair, ...]:
    """Pairs of keypoints without repetitions, whichever way round."""
    unique: dict[frozenset[str], KeypointPair] = {}
    for pair in (pair for pairs in pair_groups for pair in pairs):
        unique.setdefault(frozenset(pair), pair)
    return tuple(unique.values())
