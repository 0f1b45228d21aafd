"""Joints, limbs, left-right pairs and normalisers of one annotation scheme: names, not numbers."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from poseplug.errors import ConfigError, closest
from poseplug.registry import SKELETONS, check_arguments, listless

Pair = tuple[str, str]


class Step(NamedTuple):
    """One limb in putting a person together: its place, and those of the joints that it comes from and leads to.

    A `redundant` one fills a missing end of somebody, and founds nobody.
    """

    limb: int
    start: int
    end: int
    redundant: bool


@dataclass(frozen=True)
class Skeleton:
    """What is known of a set of joints, once for everybody who asks.

    `swaps` are the left-right pairs that a mirror exchanges. `torso` and `head` are the pairs of joints whose distance
    normalises PCK and PCKh. `sigmas` are the OKS constants, one per joint. `centric` says whose left is meant:
    the person's or the observer's.

    Fields of limbs have the order of `limbs`. People are put together in the order of `parsing`, where the `redundant`
    limbs found nobody; without it, along a tree (`assembly`). `derived` joints are means of others, for data sets that
    do not annotate them.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[Pair, ...] = ()
    swaps: tuple[Pair, ...] = ()
    torso: Pair | None = None
    head: Pair | None = None
    sigmas: tuple[float, ...] | None = None
    centric: Literal['person', 'observer'] = 'person'
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    parsing: tuple[Pair, ...] = ()
    redundant: tuple[Pair, ...] = ()
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if len(set(self.joints)) != len(self.joints) or not self.joints:
            raise ConfigError(f'skeleton {self.name!r} needs joints of distinct names; got {self.joints}')
        pairs = [*self.limbs, *self.swaps, *filter(None, (self.torso, self.head))]
        for joint in [j for pair in pairs for j in pair] + [j for group in self.groups.values() for j in group]:
            self.index(joint)
        for joint in self.derived:
            self.index(joint)
        swapped = [j for pair in self.swaps for j in pair]
        if len(set(swapped)) != len(swapped):
            raise ConfigError(f'skeleton {self.name!r}: a joint stands in two left-right pairs: {self.swaps}')
        if self.sigmas is not None and len(self.sigmas) != len(self.joints):
            raise ConfigError(
                f'skeleton {self.name!r} has {len(self.joints)} joints but {len(self.sigmas)} sigmas; give one a joint'
            )
        self._check_parsing()

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """The place of a joint; an unknown name is an error that says the closest."""
        if joint not in self.joints:
            hint = closest(joint, self.joints)
            raise ConfigError(f'skeleton {self.name!r} has no joint {joint!r}; {hint or "it has"} {self.joints}')
        return self.joints.index(joint)

    def _check_parsing(self) -> None:
        """`parsing` is an order of all limbs, and the `redundant` ones are among them; either way round."""
        limbs = [frozenset(limb) for limb in self.limbs]
        strange = [pair for pair in (*self.parsing, *self.redundant) if frozenset(pair) not in limbs]
        if strange:
            raise ConfigError(f'skeleton {self.name!r}: parsing names {strange[0]}, which is no limb of it')
        if self.parsing and sorted(map(sorted, self.parsing)) != sorted(map(sorted, self.limbs)):
            raise ConfigError(f'skeleton {self.name!r}: parsing names each of the {len(limbs)} limbs once')

    @cached_property
    def mirror(self) -> np.ndarray:
        """(K,) for every joint, the joint it becomes in a mirror; its own inverse."""
        order = np.arange(len(self))
        for left, right in self.swaps:
            i, j = self.index(left), self.index(right)
            order[i], order[j] = j, i
        return order

    @cached_property
    def lower_body(self) -> np.ndarray:
        """(K,) which joints are of the legs or the hips, by their names."""
        parts = ('hip', 'knee', 'ankle', 'heel', 'toe', 'foot')
        return np.array([j == 'pelvis' or any(part in j.split('_') for part in parts) for j in self.joints])

    @cached_property
    def feet(self) -> np.ndarray:
        """(K,) which joints are of the feet, beyond the ankles, by their names."""
        return np.array([any(part in j.split('_') for part in ('heel', 'toe', 'foot')) for j in self.joints])

    @cached_property
    def limb_indices(self) -> np.ndarray:
        """(L, 2) the limbs as places of joints."""
        return np.array([[self.index(a), self.index(b)] for a, b in self.limbs], dtype=int).reshape(-1, 2)

    @cached_property
    def assembly(self) -> tuple[Step, ...]:
        """The limbs in the order in which people are put together, each from the joint that is there first."""
        order, redundant = (self.parsing, self.redundant) if self.parsing else grown(self.limbs)
        places = {frozenset(limb): i for i, limb in enumerate(self.limbs)}
        fills = {frozenset(limb) for limb in (*redundant, *self.redundant)}
        return tuple(
            Step(places[frozenset(pair)], self.index(pair[0]), self.index(pair[1]), frozenset(pair) in fills)
            for pair in order
        )

    def of(self, own: Skeleton, keypoints: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """People (N, K, 2) and (N, K) of another skeleton with the joints of this one, by name.

        A joint that the other lacks is the mean of those that it is derived from, where all of them are labelled (as
        occluded, if one of them is), and otherwise unlabelled.
        """
        places = self.mapping(own)
        known = places >= 0
        points = np.where(known[None, :, None], keypoints[:, places], 0).astype(np.float32)
        seen = np.where(known, visible[:, places], 0)
        for joint in self.derivable(own):
            k, parents = self.index(joint), [own.index(parent) for parent in self.derived[joint]]
            seen[:, k] = visible[:, parents].min(axis=1)
            points[:, k] = np.where(seen[:, k, None] > 0, keypoints[:, parents].mean(axis=1), 0)
        return points, seen

    def defined(self, own: Skeleton) -> np.ndarray:
        """(K,) which joints of this skeleton people annotated with another one can have."""
        return (self.mapping(own) >= 0) | np.isin(self.joints, self.derivable(own))

    def derivable(self, own: Skeleton) -> list[str]:
        """The joints that another skeleton lacks and whose parents it has."""
        return [j for j, parents in self.derived.items() if j not in own.joints and set(parents) <= set(own.joints)]

    def mapping(self, other: Skeleton) -> np.ndarray:
        """(K,) for each joint of this skeleton, the place of the joint of the same name in `other`, or -1."""
        return np.array([other.joints.index(j) if j in other.joints else -1 for j in self.joints])


def grown(limbs: tuple[Pair, ...]) -> tuple[list[Pair], list[Pair]]:
    """Limbs along a tree that grows from the joint with most of them, and at its end those that close a circle.

    Both the whole order and its end, in pairs from the joint that is reached first.
    """
    degrees = Counter(joint for limb in limbs for joint in limb)
    reached: set[str] = set()
    order: list[Pair] = []
    while len(reached) < len(degrees):
        ways = [(a, b) for limb in limbs for a, b in (limb, limb[::-1]) if a in reached and b not in reached]
        if ways:
            order.append(ways[0])
            reached.add(ways[0][1])
        else:
            reached.add(max((j for j in degrees if j not in reached), key=lambda j: degrees[j]))
    taken = {frozenset(pair) for pair in order}
    circles = [limb for limb in limbs if frozenset(limb) not in taken]
    return order + circles, circles


def get_skeleton(spec: Skeleton | str | Mapping[str, Any]) -> Skeleton:
    """A skeleton from its registered name ('lsp'; 'lsp+coco' is a union), from a dict of its fields, or as it is."""
    if isinstance(spec, Skeleton):
        return spec
    if isinstance(spec, str):
        names = [name.strip() for name in spec.split('+')]
        for name in names:
            if '.' in name:  # no module to import: a name may come from a file of data
                raise ConfigError(SKELETONS.unknown(name))
        return union(*(SKELETONS.get(name)() for name in names))
    if not isinstance(spec, Mapping):
        raise ConfigError(f'a skeleton is a name, a dict of its fields or a Skeleton; got {type(spec).__name__}')
    fields = {key: listless(value) for key, value in spec.items()}
    return Skeleton(**check_arguments(Skeleton, 'a skeleton', fields, {}))


def union(*skeletons: Skeleton) -> Skeleton:
    """The joints of all, each name once, in the order in which they come; what only one of them knows is kept."""
    first = skeletons[0]
    if len(skeletons) == 1:
        return first
    if len({s.centric for s in skeletons}) > 1:
        told = ', '.join(f'{s.name!r} is {s.centric}-centric' for s in skeletons)
        raise ConfigError(f'{told}: left and right mean different things, and cannot be joined')
    sigmas: dict[str, float] = {}
    for s in reversed(skeletons):
        sigmas.update(zip(s.joints, s.sigmas or (), strict=False))
    joints = tuple(dict.fromkeys(j for s in skeletons for j in s.joints))
    return Skeleton(
        name='+'.join(s.name for s in skeletons),
        joints=joints,
        limbs=_pairs(*(s.limbs for s in skeletons)),
        swaps=_pairs(*(s.swaps for s in skeletons)),
        torso=next((s.torso for s in skeletons if s.torso), None),
        head=next((s.head for s in skeletons if s.head), None),
        sigmas=tuple(sigmas[j] for j in joints) if set(joints) <= set(sigmas) else None,
        centric=first.centric,
        groups={name: group for s in reversed(skeletons) for name, group in s.groups.items()},
        derived={joint: parents for s in reversed(skeletons) for joint, parents in s.derived.items()},
    )


def _pairs(*every: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Pairs of joints without those that come again, in whichever order."""
    found: dict[frozenset[str], Pair] = {}
    for pair in (p for pairs in every for p in pairs):
        found.setdefault(frozenset(pair), pair)
    return tuple(found.values())


def register_skeleton(skeleton: Skeleton) -> Skeleton:
    """Make a skeleton known under its own name, as a part of the module that calls this."""

    def maker() -> Skeleton:
        return skeleton

    maker.__module__, maker.__qualname__ = sys._getframe(1).f_globals['__name__'], skeleton.name
    SKELETONS.register_module(name=skeleton.name, module=maker)
    return skeleton
