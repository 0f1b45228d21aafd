"""Joints, limbs, left-right pairs and normalisers of one annotation scheme: names, not numbers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from poseplug.errors import ConfigError, closest
from poseplug.registry import SKELETONS, check_arguments, listless

Pair = tuple[str, str]


@dataclass(frozen=True)
class Skeleton:
    """What is known of a set of joints, once for everybody who asks.

    `swaps` are the left-right pairs that a mirror exchanges. `torso` and `head` are the pairs of joints whose distance
    normalises PCK and PCKh. `sigmas` are the OKS constants, one per joint. `centric` says whose left is meant:
    the person's or the observer's.
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

    def __post_init__(self) -> None:
        if len(set(self.joints)) != len(self.joints) or not self.joints:
            raise ConfigError(f'skeleton {self.name!r} needs joints of distinct names; got {self.joints}')
        pairs = [*self.limbs, *self.swaps, *filter(None, (self.torso, self.head))]
        for joint in [j for pair in pairs for j in pair] + [j for group in self.groups.values() for j in group]:
            self.index(joint)
        swapped = [j for pair in self.swaps for j in pair]
        if len(set(swapped)) != len(swapped):
            raise ConfigError(f'skeleton {self.name!r}: a joint stands in two left-right pairs: {self.swaps}')
        if self.sigmas is not None and len(self.sigmas) != len(self.joints):
            raise ConfigError(
                f'skeleton {self.name!r} has {len(self.joints)} joints but {len(self.sigmas)} sigmas; give one a joint'
            )

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """The place of a joint; an unknown name is an error that says the closest."""
        if joint not in self.joints:
            hint = closest(joint, self.joints)
            raise ConfigError(f'skeleton {self.name!r} has no joint {joint!r}; {hint or "it has"} {self.joints}')
        return self.joints.index(joint)

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
    def limb_indices(self) -> np.ndarray:
        """(L, 2) the limbs as places of joints."""
        return np.array([[self.index(a), self.index(b)] for a, b in self.limbs], dtype=int).reshape(-1, 2)

    def mapping(self, other: Skeleton) -> np.ndarray:
        """(K,) for each joint of this skeleton, the place of the joint of the same name in `other`, or -1."""
        return np.array([other.joints.index(j) if j in other.joints else -1 for j in self.joints])


def get_skeleton(spec: Skeleton | str | Mapping[str, Any]) -> Skeleton:
    """A skeleton from its registered name ('lsp'; 'lsp+coco' is a union), from a dict of its fields, or as it is."""
    if isinstance(spec, Skeleton):
        return spec
    if isinstance(spec, str):
        return union(*(SKELETONS.get(name.strip())() for name in spec.split('+')))
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
