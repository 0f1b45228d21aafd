"""Families of joint angles (standing, running, sitting, ...) from which the poses of rendered people are sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

_Array = NDArray[Any]
_AngleRange = tuple[float, float]


@dataclass(frozen=True)
class PoseFamily:
    """Ranges of joint angles in degrees; either side of the body may be the leading one.

    Attributes:
        weight: How often the family is sampled, relative to the others.
        trunk: Four ranges: lean of the whole trunk, forward bend of the spine, sideways bend, twist.
        leading_limbs: Eight ranges for one side of the body: hip flexion, hip abduction, outward turn of the leg, knee,
            shoulder flexion, arm abduction, outward twist of the arm, elbow.
        trailing_limbs: The same for the other side.
        body_roll: Rotation of the whole person in the image plane, to either side.
    """

    weight: float
    trunk: tuple[_AngleRange, ...]
    leading_limbs: tuple[_AngleRange, ...]
    trailing_limbs: tuple[_AngleRange, ...]
    body_roll: _AngleRange = (-6, 6)


_UPRIGHT_TRUNK = ((-4, 8), (-4, 12), (-8, 8), (-15, 15))
_RELAXED_LEG = ((-6, 12), (0, 12), (0, 25), (0, 14))
_RELAXED_ARM = ((-25, 25), (4, 22), (-50, 20), (5, 50))

POSE_FAMILIES: dict[str, PoseFamily] = {
    'stand': PoseFamily(1.2, _UPRIGHT_TRUNK, (*_RELAXED_LEG, *_RELAXED_ARM), (*_RELAXED_LEG, *_RELAXED_ARM)),
    'hands_on_hips': PoseFamily(
        0.6,
        _UPRIGHT_TRUNK,
        (*_RELAXED_LEG, (-30, 0), (35, 55), (-105, -75), (80, 110)),
        ((-6, 15), (4, 16), (0, 25), (0, 25), *_RELAXED_ARM),
    ),
    'carry': PoseFamily(
        0.6,
        _UPRIGHT_TRUNK,
        (*_RELAXED_LEG, (15, 50), (2, 20), (-45, -5), (60, 110)),
        (*_RELAXED_LEG, (15, 50), (2, 20), (-45, -5), (60, 110)),
    ),
    'wave': PoseFamily(
        0.7, _UPRIGHT_TRUNK, (*_RELAXED_LEG, (-10, 30), (95, 165), (-60, 60), (10, 95)), (*_RELAXED_LEG, *_RELAXED_ARM)
    ),
    'arms_up': PoseFamily(
        0.9,
        ((-8, 8), (-15, 10), (-14, 14), (-15, 15)),
        ((-6, 20), (0, 18), (0, 25), (0, 30), (135, 180), (5, 40), (-40, 40), (5, 70)),
        ((-10, 15), (0, 18), (0, 25), (0, 20), (120, 180), (5, 40), (-40, 40), (5, 70)),
    ),
    'point': PoseFamily(
        0.6,
        _UPRIGHT_TRUNK,
        (*_RELAXED_LEG, (60, 105), (0, 35), (-30, 30), (0, 25)),
        (*_RELAXED_LEG, *_RELAXED_ARM),
    ),
    'walk': PoseFamily(
        1.0,
        ((0, 8), (0, 10), (-4, 4), (-12, 12)),
        ((15, 36), (0, 6), (0, 12), (3, 22), (-36, -8), (4, 14), (-30, 5), (8, 35)),
        ((-26, -8), (0, 6), (0, 12), (10, 42), (12, 40), (4, 14), (-30, 5), (15, 60)),
    ),
    'run': PoseFamily(
        1.3,
        ((4, 20), (0, 14), (-6, 6), (-22, 22)),
        ((45, 88), (0, 8), (0, 10), (55, 115), (-60, -25), (6, 22), (-35, 0), (65, 110)),
        ((-28, 5), (0, 8), (0, 10), (12, 85), (20, 65), (6, 22), (-40, -5), (65, 115)),
    ),
    'kick': PoseFamily(
        0.8,
        ((-18, 8), (0, 14), (-12, 12), (-20, 20)),
        ((45, 100), (0, 25), (0, 20), (0, 45), (-40, 10), (20, 70), (-30, 20), (5, 60)),
        ((-15, 10), (0, 12), (0, 20), (5, 35), (0, 60), (30, 90), (-30, 20), (5, 70)),
    ),
    'lunge': PoseFamily(
        0.8,
        ((0, 20), (0, 14), (-8, 8), (-20, 20)),
        ((55, 95), (2, 18), (0, 20), (50, 95), (-20, 70), (5, 70), (-40, 20), (5, 80)),
        ((-30, -5), (2, 18), (0, 25), (10, 50), (-20, 70), (5, 70), (-40, 20), (5, 80)),
    ),
    'swing': PoseFamily(
        0.9,
        ((5, 25), (5, 20), (-12, 12), (25, 55)),
        ((5, 40), (8, 25), (0, 25), (10, 50), (45, 110), (10, 45), (-40, 10), (10, 70)),
        ((0, 30), (8, 25), (0, 25), (10, 50), (50, 110), (-25, 0), (-60, -10), (15, 90)),
    ),
    'throw': PoseFamily(
        0.8,
        ((-10, 12), (-8, 12), (-10, 10), (-35, 10)),
        ((-20, 15), (4, 20), (0, 25), (5, 40), (-20, 30), (75, 110), (60, 110), (60, 110)),
        ((15, 60), (4, 20), (0, 25), (5, 60), (50, 100), (0, 40), (-30, 20), (0, 60)),
    ),
    'sit': PoseFamily(
        0.9,
        ((-12, 12), (0, 20), (-8, 8), (-12, 12)),
        ((72, 100), (2, 22), (0, 15), (65, 105), (5, 60), (4, 25), (-45, 0), (15, 90)),
        ((72, 100), (2, 22), (0, 15), (55, 105), (5, 60), (4, 25), (-45, 0), (15, 90)),
    ),
    'crouch': PoseFamily(
        0.8,
        ((15, 40), (8, 25), (-8, 8), (-15, 15)),
        ((62, 98), (6, 28), (0, 20), (95, 138), (20, 85), (4, 35), (-40, 5), (10, 90)),
        ((50, 95), (6, 28), (0, 20), (90, 138), (20, 85), (4, 35), (-40, 5), (10, 90)),
    ),
    'bend': PoseFamily(
        0.8,
        ((25, 65), (15, 38), (-8, 8), (-15, 15)),
        ((-2, 30), (2, 16), (0, 15), (2, 45), (45, 115), (2, 25), (-40, 5), (5, 60)),
        ((-12, 25), (2, 16), (0, 15), (2, 45), (30, 115), (2, 25), (-40, 5), (5, 60)),
    ),
    'jump': PoseFamily(
        1.0,
        ((-12, 15), (-12, 15), (-10, 10), (-20, 20)),
        ((15, 85), (2, 35), (0, 25), (25, 110), (-10, 60), (45, 155), (-40, 40), (5, 70)),
        ((-25, 40), (2, 35), (0, 25), (10, 90), (-10, 60), (40, 150), (-40, 40), (5, 70)),
        (-14, 14),
    ),
    'star': PoseFamily(
        0.7,
        ((-6, 6), (-10, 8), (-14, 14), (-10, 10)),
        ((-5, 15), (18, 45), (0, 30), (0, 25), (-10, 15), (65, 150), (-30, 30), (0, 35)),
        ((-5, 15), (15, 45), (0, 30), (0, 25), (-10, 15), (65, 150), (-30, 30), (0, 35)),
    ),
    'lie': PoseFamily(
        0.5,
        ((-10, 10), (-8, 15), (-12, 12), (-20, 20)),
        ((-5, 60), (0, 20), (0, 25), (5, 80), (0, 170), (5, 60), (-50, 20), (5, 80)),
        ((-10, 30), (0, 20), (0, 25), (5, 50), (-10, 120), (5, 60), (-50, 20), (5, 80)),
        (60, 105),
    ),
    'handstand': PoseFamily(
        0.3,
        ((-8, 8), (-15, 10), (-8, 8), (-10, 10)),
        ((-15, 45), (0, 40), (0, 20), (0, 50), (155, 180), (4, 25), (-20, 20), (0, 25)),
        ((-25, 20), (0, 40), (0, 20), (0, 50), (155, 180), (4, 25), (-20, 20), (0, 25)),
        (150, 210),
    ),
}


@dataclass(frozen=True)
class PoseAngles:
    """One pose: angles in degrees, in the order of `PoseFamily`.

    Attributes:
        family: Name of the family.
        trunk: (4,) lean, forward bend, sideways bend, twist.
        head: (3,) nod, turn, tilt.
        limbs: (8,) by side, 'left' and 'right'.
        body_roll: Rotation of the whole person in the image plane.
    """

    family: str
    trunk: _Array
    head: _Array
    limbs: dict[str, _Array]
    body_roll: float


def _sample_in_ranges(rng: Generator, ranges: Sequence[_AngleRange]) -> _Array:
    """Angles (n,), the middle of each range being likelier than its ends."""
    low, high = np.asarray(ranges, float).T
    return np.asarray(low + (high - low) * rng.beta(1.4, 1.4, len(low)))


def sample_pose(rng: Generator) -> PoseAngles:
    """Sample a family by its weight, then angles within its ranges."""
    names = list(POSE_FAMILIES)
    weights = np.array([POSE_FAMILIES[name].weight for name in names])
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    family = POSE_FAMILIES[name]
    leading, trailing = ('left', 'right') if rng.random() < 0.5 else ('right', 'left')
    trunk = _sample_in_ranges(rng, family.trunk)
    if leading == 'left':
        trunk[3] = -trunk[3]  # the leading shoulder turns the same way on either side
    # Ranges are written for a leading and a trailing side, so that every pose occurs on both.
    limbs = {
        leading: _sample_in_ranges(rng, family.leading_limbs),
        trailing: _sample_in_ranges(rng, family.trailing_limbs),
    }
    # the neck makes up for part of what the trunk bends and leans forward
    raised = (0.6 * trunk[1] + 0.4 * max(trunk[0], 0.0), 0, 0)
    head = rng.uniform((-12, -40, -10), (18, 40, 10)) - raised
    roll = float(_sample_in_ranges(rng, [family.body_roll])[0])
    return PoseAngles(name, trunk, head, limbs, roll * float(rng.choice((-1, 1))))
