"""The solids that a rendered person consists of: tubes with round ends, and their profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseplug.data.synthetic.body import SIDE_SIGNS, PosedBody
from poseplug.data.synthetic.clothing import Outfit, Paint

_Array = NDArray[Any]

PROFILE_SAMPLES = 64  # samples along a solid's profile
AXIS_POSITIONS = np.linspace(0, 1, PROFILE_SAMPLES)
TAGS_PER_PERSON = 32  # numbers that the parts of one person may use; there are 17 parts
_LIMB_PARTS = ('upper_arm', 'forearm', 'hand', 'thigh', 'shin', 'foot')
_PART_NAMES = (
    'pelvis',
    'chest',
    'neck',
    'head',
    'skirt',
    *(f'{side}_{part}' for side, _ in SIDE_SIGNS for part in _LIMB_PARTS),
)
PART_TAGS = {name: tag for tag, name in enumerate(_PART_NAMES, start=1)}


def _interpolate_profile(*knots: tuple[float, float]) -> _Array:
    """Half widths (PROFILE_SAMPLES,) in meters, linear between knots of axis position and half width."""
    positions, half_widths = np.array(knots, float).T
    return np.asarray(np.interp(AXIS_POSITIONS, positions, half_widths))


_THIGH_PROFILE = _interpolate_profile((0, 0.084), (0.3, 0.084), (0.7, 0.064), (1, 0.054))
_SHIN_PROFILE = _interpolate_profile((0, 0.052), (0.15, 0.052), (0.35, 0.057), (0.75, 0.04), (1, 0.035))
_UPPER_ARM_PROFILE = _interpolate_profile((0, 0.056), (0.25, 0.052), (0.5, 0.05), (0.85, 0.041), (1, 0.039))
_FOREARM_PROFILE = _interpolate_profile((0, 0.039), (0.25, 0.044), (0.7, 0.033), (1, 0.027))
_HAND_PROFILE = _interpolate_profile((0, 0.026), (0.3, 0.037), (0.6, 0.038), (1, 0.024))
_FOOT_PROFILE = _interpolate_profile((0, 0.036), (0.4, 0.04), (0.75, 0.044), (1, 0.034))
_FOOT_HEIGHT_PROFILE = _interpolate_profile((0, 0.036), (0.3, 0.042), (0.7, 0.027), (1, 0.02))
_NECK_PROFILE = _interpolate_profile((0, 0.062), (0.4, 0.054), (1, 0.054))
_HEAD_PROFILE = _interpolate_profile((0, 0.058), (0.4, 0.071), (0.7, 0.076), (1, 0.072))
_HEAD_DEPTH_PROFILE = _interpolate_profile((0, 0.076), (0.4, 0.088), (0.7, 0.095), (1, 0.09))
_LONG_HAIR_PROFILE = _interpolate_profile((0, 0.078), (0.5, 0.085), (1, 0.07))
_PONY_TAIL_PROFILE = _interpolate_profile((0, 0.022), (0.4, 0.034), (1, 0.012))
_CAP_PEAK_PROFILE = _interpolate_profile((0, 0.07), (1, 0.055))
_PELVIS_PROFILE = _interpolate_profile((0, 0.155), (0.25, 0.165), (0.6, 0.15), (1, 0.138))
_PELVIS_DEPTH_PROFILE = _interpolate_profile((0, 0.1), (0.3, 0.118), (1, 0.1))
_CHEST_PROFILE = _interpolate_profile((0, 0.136), (0.25, 0.143), (0.6, 0.168), (0.78, 0.168), (0.9, 0.125), (1, 0.07))
_CHEST_DEPTH_PROFILE = _interpolate_profile((0, 0.1), (0.3, 0.112), (0.6, 0.122), (0.85, 0.095), (1, 0.065))
_SKIRT_PROFILE = _interpolate_profile((0, 0.15), (0.25, 0.175), (1, 0.24))


@dataclass(frozen=True)
class Solid:
    """An elliptic tube with round ends, in meters of the body frame.

    Attributes:
        part: Name of the body part, a key of `PART_TAGS`.
        ends: (2, 3) the two ends of its axis.
        frame: (3, 3) with columns lateral, along the axis, forward.
        half_widths: (PROFILE_SAMPLES,) half the lateral extent along the axis.
        half_depths: (PROFILE_SAMPLES,) half the forward extent along the axis.
        cap_lengths: How far the two ends bulge.
        paint: The colors of its surface.
    """

    part: str
    ends: _Array
    frame: _Array
    half_widths: _Array
    half_depths: _Array
    cap_lengths: tuple[float, float]
    paint: Paint


def align_frame(frame: _Array, start: _Array, end: _Array) -> _Array:
    """Rotate a frame (3, 3) so that its second column points from `start` (3,) to `end` (3,).

    The first column stays as near to its direction as it can.
    """
    axis = (end - start) / max(float(np.linalg.norm(end - start)), 1e-6)
    # Gram-Schmidt: what the axis has of the lateral direction is taken away.
    lateral = frame[:, 0] - axis * np.dot(frame[:, 0], axis)
    lateral = lateral / max(float(np.linalg.norm(lateral)), 1e-6)
    (a, b, c), (d, e, f) = lateral, axis
    x, y, z = b * f - c * e, c * d - a * f, a * e - b * d  # lateral x axis
    return np.array(((a, d, x), (b, e, y), (c, f, z)))


def _build_solid(
    part: str,
    ends: tuple[_Array, _Array],
    frame: _Array,
    half_sizes: tuple[_Array, _Array],
    cap_lengths: tuple[float, float],
    paint: Paint,
) -> Solid:
    """A solid between two points (3,), in a frame that is aligned with its axis."""
    return Solid(part, np.stack(ends), align_frame(frame, *ends), *half_sizes, cap_lengths, paint)


def build_body_solids(body: PosedBody, outfit: Outfit) -> list[Solid]:
    """Build the solids of a dressed body, in no particular order."""
    solids = [*_build_trunk_solids(body, outfit), *_build_head_solids(body, outfit)]
    for side, _ in SIDE_SIGNS:
        solids += _build_arm_solids(body, outfit, side)
        solids += _build_leg_solids(body, outfit, side)
    return solids


# --- trunk ------------------------------------------------------------------------------------------------------------


def _build_trunk_solids(body: PosedBody, outfit: Outfit) -> Iterator[Solid]:
    points, frames, proportions = body.points, body.frames, body.proportions
    # widths relative to the average body's, whose half widths are those of `sample_proportions`
    shoulder_ratio, hip_ratio = proportions.shoulder_half_width / 0.172, proportions.hip_half_width / 0.095
    waist_ratio = (hip_ratio + proportions.girth) / 2
    low = points['pelvis'] - frames['pelvis'][:, 1] * 0.03
    high = points['waist'] + frames['pelvis'][:, 1] * 0.02
    widths = _PELVIS_PROFILE * np.linspace(hip_ratio, waist_ratio, PROFILE_SAMPLES)
    depths = _PELVIS_DEPTH_PROFILE * proportions.girth
    yield _build_solid('pelvis', (low, high), frames['pelvis'], (widths, depths), (0.05, 0.03), outfit.pelvis)
    low = points['waist'] - frames['chest'][:, 1] * 0.03
    high = points['neck'] - frames['chest'][:, 1] * 0.01
    widths = _CHEST_PROFILE * np.linspace(waist_ratio, shoulder_ratio, PROFILE_SAMPLES)
    depths = _CHEST_DEPTH_PROFILE * proportions.girth
    yield _build_solid('chest', (low, high), frames['chest'], (widths, depths), (0.03, 0.02), outfit.chest)
    if outfit.skirt_length:
        yield _build_skirt_solid(body, outfit, hip_ratio)


def _build_skirt_solid(body: PosedBody, outfit: Outfit, hip_ratio: float) -> Solid:
    """A cone from the hips towards the knees, wide enough for both of them."""
    pelvis, left_knee, right_knee = (body.points[name] for name in ('pelvis', 'left_knee', 'right_knee'))
    frame = body.frames['pelvis']
    start = pelvis + frame[:, 1] * 0.08
    end = pelvis + ((left_knee + right_knee) / 2 - pelvis) * outfit.skirt_length
    half_gap = float(np.linalg.norm(left_knee - right_knee)) * outfit.skirt_length / 2
    widths = np.maximum(_SKIRT_PROFILE * hip_ratio, AXIS_POSITIONS * (half_gap + 0.09))
    return _build_solid('skirt', (start, end), frame, (widths, widths * 0.72), (0.02, 0.015), outfit.legwear)


# --- head -------------------------------------------------------------------------------------------------------------


def _build_head_solids(body: PosedBody, outfit: Outfit) -> Iterator[Solid]:
    """Neck, head, nose, ears and hair."""
    skull, frame, size = body.points['skull'], body.frames['head'], body.proportions.head

    def head_point(*offset: float) -> _Array:
        """A point (3,), from meters of the average head."""
        return np.asarray(skull + frame @ (np.array(offset) * size))

    def head_solid(
        ends: tuple[_Array, _Array], widths: _Array, depths: _Array, cap_lengths: tuple[float, float], paint: Paint
    ) -> Solid:
        """A solid of the head, from meters of the average head."""
        scaled_caps = (cap_lengths[0] * size, cap_lengths[1] * size)
        return _build_solid('head', ends, frame, (widths * size, depths * size), scaled_caps, paint)

    neck_ends = body.points['neck'] - body.frames['chest'][:, 1] * 0.02, head_point(0, 0.05, 0)
    neck = _NECK_PROFILE * body.proportions.muscle
    yield _build_solid('neck', neck_ends, body.frames['neck'], (neck, neck), (0.02, 0.02), outfit.skin)
    head_ends = head_point(0, 0.05, 0.012), head_point(0, 0.15, 0)
    yield head_solid(head_ends, _HEAD_PROFILE, _HEAD_DEPTH_PROFILE, (0.055, 0.068), outfit.head)
    nose = np.full(PROFILE_SAMPLES, 0.013)
    nose_ends = head_point(0, 0.1, 0.082), head_point(0, 0.068, 0.098)
    yield head_solid(nose_ends, nose, nose, (0.01, 0.01), outfit.skin)
    ear = np.full(PROFILE_SAMPLES, 0.012)
    for x in (-0.074, 0.074):
        ear_ends = head_point(x, 0.062, -0.005), head_point(x, 0.095, -0.012)
        yield head_solid(ear_ends, ear, ear * 1.6, (0.012, 0.012), outfit.skin)
    yield from _build_hair_solids(outfit, head_solid, head_point)


def _build_hair_solids(
    outfit: Outfit, head_solid: Callable[..., Solid], head_point: Callable[..., _Array]
) -> Iterator[Solid]:
    """What stands out from the head: long hair, a pony tail or the peak of a cap; nothing for short hair."""
    if outfit.hair_style == 1:
        profile = _LONG_HAIR_PROFILE
        ends = head_point(0, 0.12, -0.035), head_point(0, -0.06, -0.06)
        yield head_solid(ends, profile, profile * 0.62, (0.05, 0.02), outfit.hair)
    elif outfit.hair_style == 2:
        profile = _PONY_TAIL_PROFILE
        ends = head_point(0, 0.15, -0.095), head_point(0, -0.01, -0.13)
        yield head_solid(ends, profile, profile, (0.02, 0.02), outfit.hair)
    elif outfit.hair_style == 3:
        profile = _CAP_PEAK_PROFILE
        ends = head_point(0, 0.15, 0.06), head_point(0, 0.14, 0.14)
        yield head_solid(ends, profile, profile * 0.15, (0.01, 0.02), outfit.hair)


# --- limbs ------------------------------------------------------------------------------------------------------------


def _build_limb_solid(body: PosedBody, part: str, ends: tuple[str, str], half_widths: _Array, paint: Paint) -> Solid:
    """A round limb between two named points, whose ends are half spheres."""
    points = body.points[ends[0]], body.points[ends[1]]
    cap_lengths = (float(half_widths[0]), float(half_widths[-1]))
    return _build_solid(part, points, body.frames[part], (half_widths, half_widths), cap_lengths, paint)


def _build_arm_solids(body: PosedBody, outfit: Outfit, side: str) -> Iterator[Solid]:
    shoulder, elbow, wrist, finger = (f'{side}_{name}' for name in ('shoulder', 'elbow', 'wrist', 'finger'))
    width_ratio = body.proportions.muscle * (0.6 + 0.4 * body.proportions.girth)
    sleeve = np.linspace(1, outfit.sleeve_scale, PROFILE_SAMPLES)
    upper_arm = _UPPER_ARM_PROFILE * width_ratio * sleeve
    yield _build_limb_solid(body, f'{side}_upper_arm', (shoulder, elbow), upper_arm, outfit.upper_arm)
    forearm = _FOREARM_PROFILE * width_ratio
    yield _build_limb_solid(body, f'{side}_forearm', (elbow, wrist), forearm, outfit.forearm)
    ends, frame = (body.points[wrist], body.points[finger]), body.frames[f'{side}_forearm']
    # A hand is flat: its palm faces the body.
    hand_sizes = (_HAND_PROFILE * 0.6, _HAND_PROFILE)
    yield _build_solid(f'{side}_hand', ends, frame, hand_sizes, (0.02, 0.02), outfit.skin)


def _build_leg_solids(body: PosedBody, outfit: Outfit, side: str) -> Iterator[Solid]:
    hip, knee, ankle, heel, toe = (f'{side}_{name}' for name in ('hip', 'knee', 'ankle', 'heel', 'toe'))
    width_ratio = body.proportions.muscle * (0.5 + 0.5 * body.proportions.girth)
    thigh = _THIGH_PROFILE * width_ratio * (0.8 + 0.2 * outfit.trouser_scale)
    yield _build_limb_solid(body, f'{side}_thigh', (hip, knee), thigh, outfit.thigh)
    shin = _SHIN_PROFILE * width_ratio * outfit.trouser_scale
    yield _build_limb_solid(body, f'{side}_shin', (knee, ankle), shin, outfit.shin)
    ends, frame = (body.points[heel], body.points[toe]), body.frames[f'{side}_foot']
    foot_sizes = (_FOOT_PROFILE, _FOOT_HEIGHT_PROFILE)
    yield _build_solid(f'{side}_foot', ends, frame, foot_sizes, (0.035, 0.04), outfit.shoe)
