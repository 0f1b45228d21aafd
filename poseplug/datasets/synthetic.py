"""The embedded data set: drawn people whose joints are known, for training without a download.

A kinematic body in metres takes a pose from one of several families, wears clothes, and is drawn part by part into a
depth buffer at twice the size of the picture. The same buffer says afterwards which joints can be seen.

Frames: the *body* frame has x to the person's left, y up, z forward. The *view* frame has x right, y down, z towards
the viewer; a person who faces the viewer therefore has their left at the right of the picture. Pixels are 0-based with
centres on integers; only the files of `write_lsp` count from 1, as MATLAB does.

Everything about a picture follows from `default_rng((seed, index))`, so no picture depends on how many are made.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from poseplug.errors import AnnotationError

Array = NDArray[Any]
Range = tuple[float, float]
Progress = Callable[..., Iterable[Any]]

VERSION = 1  # of the generator: a change of any pixel or joint is a new version
LSP_JOINTS = (
    'right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle', 'right_wrist', 'right_elbow',
    'right_shoulder', 'left_shoulder', 'left_elbow', 'left_wrist', 'neck', 'head_top',
)  # fmt: skip
COCO_JOINTS = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder', 'left_elbow',
    'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle',
    'right_ankle',
)  # fmt: skip
ALL_JOINTS = tuple(dict.fromkeys((*LSP_JOINTS, *COCO_JOINTS)))
COCO_LIMBS = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip

FINE = 2  # the depth buffer has this many cells a pixel, which softens every contour
STEPS = 64  # samples along a solid's profile
PARTS = 32  # tags a person may use
OCCLUDER = -1
SIDES = (('left', 1.0), ('right', -1.0))


# --- what comes out -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Person:
    """One drawn person; coordinates in pixels of the picture, left being the person's left.

    `joints` (14, 2) and `occluded` (14,) are in LSP order, `coco` (17, 2) and `coco_occluded` (17,) in COCO's. `box` is
    x, y, width, height of the visible pixels, `area` their number, and `family` names the pose.
    """

    joints: Array
    occluded: Array
    coco: Array
    coco_occluded: Array
    box: tuple[float, float, float, float]
    area: int
    family: str


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3) uint8 BGR, its people (the main one first) and who owns each pixel.

    `owner` (H, W) int16 is 0 for the background, 1 + i for person i and -1 for something in front.
    """

    image: Array
    people: tuple[Person, ...]
    owner: Array


# --- poses ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """Ranges of joint angles in degrees; which side leads is drawn by lot.

    `trunk` is lean of the whole trunk, forward bend of the spine, sideways bend, twist. `lead` and `trail` are one
    side's hip flexion, hip spread, outward turn, knee, shoulder flexion, arm raise, outward twist, elbow. `topple`
    turns the whole person in the picture.
    """

    share: float
    trunk: tuple[Range, ...]
    lead: tuple[Range, ...]
    trail: tuple[Range, ...]
    topple: Range = (-6, 6)


_UPRIGHT = ((-4, 8), (-4, 12), (-8, 8), (-15, 15))
_LEG = ((-6, 12), (0, 12), (0, 25), (0, 14))
_ARM = ((-25, 25), (4, 22), (-50, 20), (5, 50))

FAMILIES: dict[str, Family] = {
    'stand': Family(1.2, _UPRIGHT, (*_LEG, *_ARM), (*_LEG, *_ARM)),
    'hands_on_hips': Family(
        0.6,
        _UPRIGHT,
        (*_LEG, (-30, 0), (35, 55), (-105, -75), (80, 110)),
        ((-6, 15), (4, 16), (0, 25), (0, 25), *_ARM),
    ),
    'carry': Family(
        0.6,
        _UPRIGHT,
        (*_LEG, (15, 50), (2, 20), (-45, -5), (60, 110)),
        (*_LEG, (15, 50), (2, 20), (-45, -5), (60, 110)),
    ),
    'wave': Family(0.7, _UPRIGHT, (*_LEG, (-10, 30), (95, 165), (-60, 60), (10, 95)), (*_LEG, *_ARM)),
    'arms_up': Family(
        0.9,
        ((-8, 8), (-15, 10), (-14, 14), (-15, 15)),
        ((-6, 20), (0, 18), (0, 25), (0, 30), (135, 180), (5, 40), (-40, 40), (5, 70)),
        ((-10, 15), (0, 18), (0, 25), (0, 20), (120, 180), (5, 40), (-40, 40), (5, 70)),
    ),
    'point': Family(
        0.6,
        _UPRIGHT,
        (*_LEG, (60, 105), (0, 35), (-30, 30), (0, 25)),
        (*_LEG, *_ARM),
    ),
    'walk': Family(
        1.0,
        ((0, 8), (0, 10), (-4, 4), (-12, 12)),
        ((15, 36), (0, 6), (0, 12), (3, 22), (-36, -8), (4, 14), (-30, 5), (8, 35)),
        ((-26, -8), (0, 6), (0, 12), (10, 42), (12, 40), (4, 14), (-30, 5), (15, 60)),
    ),
    'run': Family(
        1.3,
        ((4, 20), (0, 14), (-6, 6), (-22, 22)),
        ((45, 88), (0, 8), (0, 10), (55, 115), (-60, -25), (6, 22), (-35, 0), (65, 110)),
        ((-28, 5), (0, 8), (0, 10), (12, 85), (20, 65), (6, 22), (-40, -5), (65, 115)),
    ),
    'kick': Family(
        0.8,
        ((-18, 8), (0, 14), (-12, 12), (-20, 20)),
        ((45, 100), (0, 25), (0, 20), (0, 45), (-40, 10), (20, 70), (-30, 20), (5, 60)),
        ((-15, 10), (0, 12), (0, 20), (5, 35), (0, 60), (30, 90), (-30, 20), (5, 70)),
    ),
    'lunge': Family(
        0.8,
        ((0, 20), (0, 14), (-8, 8), (-20, 20)),
        ((55, 95), (2, 18), (0, 20), (50, 95), (-20, 70), (5, 70), (-40, 20), (5, 80)),
        ((-30, -5), (2, 18), (0, 25), (10, 50), (-20, 70), (5, 70), (-40, 20), (5, 80)),
    ),
    'swing': Family(
        0.9,
        ((5, 25), (5, 20), (-12, 12), (25, 55)),
        ((5, 40), (8, 25), (0, 25), (10, 50), (45, 110), (10, 45), (-40, 10), (10, 70)),
        ((0, 30), (8, 25), (0, 25), (10, 50), (50, 110), (-25, 0), (-60, -10), (15, 90)),
    ),
    'throw': Family(
        0.8,
        ((-10, 12), (-8, 12), (-10, 10), (-35, 10)),
        ((-20, 15), (4, 20), (0, 25), (5, 40), (-20, 30), (75, 110), (60, 110), (60, 110)),
        ((15, 60), (4, 20), (0, 25), (5, 60), (50, 100), (0, 40), (-30, 20), (0, 60)),
    ),
    'sit': Family(
        0.9,
        ((-12, 12), (0, 20), (-8, 8), (-12, 12)),
        ((72, 100), (2, 22), (0, 15), (65, 105), (5, 60), (4, 25), (-45, 0), (15, 90)),
        ((72, 100), (2, 22), (0, 15), (55, 105), (5, 60), (4, 25), (-45, 0), (15, 90)),
    ),
    'crouch': Family(
        0.8,
        ((15, 40), (8, 25), (-8, 8), (-15, 15)),
        ((62, 98), (6, 28), (0, 20), (95, 138), (20, 85), (4, 35), (-40, 5), (10, 90)),
        ((50, 95), (6, 28), (0, 20), (90, 138), (20, 85), (4, 35), (-40, 5), (10, 90)),
    ),
    'bend': Family(
        0.8,
        ((25, 65), (15, 38), (-8, 8), (-15, 15)),
        ((-2, 30), (2, 16), (0, 15), (2, 45), (45, 115), (2, 25), (-40, 5), (5, 60)),
        ((-12, 25), (2, 16), (0, 15), (2, 45), (30, 115), (2, 25), (-40, 5), (5, 60)),
    ),
    'jump': Family(
        1.0,
        ((-12, 15), (-12, 15), (-10, 10), (-20, 20)),
        ((15, 85), (2, 35), (0, 25), (25, 110), (-10, 60), (45, 155), (-40, 40), (5, 70)),
        ((-25, 40), (2, 35), (0, 25), (10, 90), (-10, 60), (40, 150), (-40, 40), (5, 70)),
        (-14, 14),
    ),
    'star': Family(
        0.7,
        ((-6, 6), (-10, 8), (-14, 14), (-10, 10)),
        ((-5, 15), (18, 45), (0, 30), (0, 25), (-10, 15), (65, 150), (-30, 30), (0, 35)),
        ((-5, 15), (15, 45), (0, 30), (0, 25), (-10, 15), (65, 150), (-30, 30), (0, 35)),
    ),
    'lie': Family(
        0.5,
        ((-10, 10), (-8, 15), (-12, 12), (-20, 20)),
        ((-5, 60), (0, 20), (0, 25), (5, 80), (0, 170), (5, 60), (-50, 20), (5, 80)),
        ((-10, 30), (0, 20), (0, 25), (5, 50), (-10, 120), (5, 60), (-50, 20), (5, 80)),
        (60, 105),
    ),
    'handstand': Family(
        0.3,
        ((-8, 8), (-15, 10), (-8, 8), (-10, 10)),
        ((-15, 45), (0, 40), (0, 20), (0, 50), (155, 180), (4, 25), (-20, 20), (0, 25)),
        ((-25, 20), (0, 40), (0, 20), (0, 50), (155, 180), (4, 25), (-20, 20), (0, 25)),
        (150, 210),
    ),
}


@dataclass(frozen=True)
class Pose:
    """Angles in degrees: `trunk` (4,), `head` (nod, turn, tilt), `limbs` by side (8,), `topple`; see `Family`."""

    family: str
    trunk: Array
    head: Array
    limbs: dict[str, Array]
    topple: float


def _within(rng: Generator, ranges: Sequence[Range]) -> Array:
    low, high = np.asarray(ranges, float).T
    return np.asarray(low + (high - low) * rng.beta(1.4, 1.4, len(low)))


def sample_pose(rng: Generator) -> Pose:
    """Draw a family, then angles inside its ranges."""
    names = list(FAMILIES)
    shares = np.array([FAMILIES[name].share for name in names])
    name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    family = FAMILIES[name]
    sides = ('left', 'right') if rng.random() < 0.5 else ('right', 'left')
    trunk = _within(rng, family.trunk)
    if sides[0] == 'left':
        trunk[3] = -trunk[3]  # the leading shoulder turns the same way on either side
    limbs = dict(zip(sides, (_within(rng, family.lead), _within(rng, family.trail)), strict=True))
    head = rng.uniform((-12, -40, -10), (18, 40, 10)) - (0.6 * trunk[1] + 0.4 * max(trunk[0], 0.0), 0, 0)
    topple = float(_within(rng, [family.topple])[0]) * float(rng.choice((-1, 1)))
    return Pose(name, trunk, head, limbs, topple)


# --- the body -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Build:
    """Proportions: factors of the average body, and half widths of shoulders and hips in metres."""

    leg: float
    arm: float
    spine: float
    head: float
    girth: float
    muscle: float
    shoulder: float
    hip: float


@dataclass(frozen=True)
class Figure:
    """A posed body: `points` (3,) in metres and `frames` (3, 3), columns left, up and forward, by name."""

    points: dict[str, Array]
    frames: dict[str, Array]
    build: Build
    family: str


def sample_build(rng: Generator) -> Build:
    slim = rng.normal(0, 1)
    return Build(
        leg=float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12)),
        arm=float(np.clip(rng.normal(1.0, 0.04), 0.9, 1.1)),
        spine=float(np.clip(rng.normal(1.0, 0.04), 0.9, 1.1)),
        head=float(np.clip(rng.normal(1.02, 0.06), 0.9, 1.2)),
        girth=float(np.clip(1.02 - 0.1 * slim + rng.normal(0, 0.06), 0.84, 1.35)),
        muscle=float(np.clip(rng.normal(1.02, 0.1), 0.82, 1.25)),
        shoulder=float(np.clip(rng.normal(0.172, 0.012), 0.145, 0.2)),
        hip=float(np.clip(rng.normal(0.095, 0.007), 0.08, 0.115)),
    )


def _rotation(axis: Literal['x', 'y', 'z'], degrees: float) -> Array:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if axis == 'x':
        return np.array(((1, 0, 0), (0, c, -s), (0, s, c)))
    if axis == 'y':
        return np.array(((c, 0, s), (0, 1, 0), (-s, 0, c)))
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1)))


def _ball_joint(parent: Array, flexion: float, spread: float, twist: float, side: float) -> Array:
    """The frame of a limb that hangs from `parent`; positive angles go forward and outward on either side."""
    out = _rotation('z', side * spread) @ _rotation('y', side * twist)
    return np.asarray(parent @ _rotation('x', -flexion) @ out)


def pose_body(build: Build, pose: Pose) -> Figure:
    """Forward kinematics from the middle of the hips, in the body frame."""
    lean, bend, sideways, twist = pose.trunk
    pelvis = _rotation('x', lean) @ _rotation('z', sideways / 2)
    chest = pelvis @ _rotation('y', twist) @ _rotation('x', bend) @ _rotation('z', sideways)
    nod, turn, tilt = pose.head
    neck = chest @ _rotation('y', turn / 3) @ _rotation('x', nod / 2 + 8)
    head = chest @ _rotation('y', turn) @ _rotation('x', nod) @ _rotation('z', tilt)
    points = {'pelvis': np.zeros(3)}
    points['waist'] = pelvis @ (0, 0.19 * build.spine, 0)
    points['neck'] = points['waist'] + chest @ (0, 0.315 * build.spine, 0.005)
    points['skull'] = points['neck'] + neck @ (0, 0.075, 0)
    frames = {'pelvis': pelvis, 'chest': chest, 'neck': neck, 'head': head}
    for name, place in _FACE.items():
        points[name] = points['skull'] + head @ (np.array(place) * build.head)
    for side, sign in SIDES:
        _pose_leg(points, frames, build, pose.limbs[side], lean, side, sign)
        _pose_arm(points, frames, build, pose.limbs[side], side, sign)
    return Figure(points, frames, build, pose.family)


_FACE = {
    'head_top': (0, 0.215, -0.01),
    'nose': (0, 0.07, 0.098),
    'left_eye': (0.032, 0.1, 0.082),
    'right_eye': (-0.032, 0.1, 0.082),
    'left_ear': (0.074, 0.08, -0.005),
    'right_ear': (-0.074, 0.08, -0.005),
}  # metres from the base of the skull, in the head's frame


def _pose_leg(
    points: dict[str, Array], frames: dict[str, Array], build: Build, angles: Array, lean: float, side: str, sign: float
) -> None:
    flexion, spread, turn, knee = angles[:4]  # flexion from the vertical, however far the trunk leans
    thigh = _ball_joint(frames['pelvis'], flexion + lean, spread, turn, sign)
    shin = thigh @ _rotation('x', knee)
    foot = shin @ _rotation('x', float(np.clip(flexion - knee, -18, 38)))
    hip = frames['pelvis'] @ (sign * build.hip, 0, 0)
    ankle_at = (knee_at := hip + thigh @ (0, -0.43 * build.leg, 0)) + shin @ (0, -0.41 * build.leg, 0)
    points |= {f'{side}_hip': hip, f'{side}_knee': knee_at, f'{side}_ankle': ankle_at}
    points[f'{side}_heel'] = ankle_at + foot @ (0, -0.045, -0.035)
    points[f'{side}_toe'] = ankle_at + foot @ (0, -0.06, 0.15)
    frames |= {f'{side}_thigh': thigh, f'{side}_shin': shin, f'{side}_foot': foot}


def _pose_arm(
    points: dict[str, Array], frames: dict[str, Array], build: Build, angles: Array, side: str, sign: float
) -> None:
    flexion, spread, twist, elbow = angles[4:]
    upper = _ball_joint(frames['chest'], flexion, spread, twist, sign)
    fore = upper @ _rotation('x', -elbow)
    raised = max(0.0, float(-np.dot(frames['chest'][:, 1], upper[:, 1])) + 0.3)  # 0 hanging, 1.3 straight up
    place = (sign * (build.shoulder - 0.02 * raised), 0.262 * build.spine + 0.04 * raised, 0)
    shoulder = points['waist'] + frames['chest'] @ place
    wrist = (elbow_at := shoulder + upper @ (0, -0.285 * build.arm, 0)) + fore @ (0, -0.25 * build.arm, 0)
    points |= {f'{side}_shoulder': shoulder, f'{side}_elbow': elbow_at, f'{side}_wrist': wrist}
    points[f'{side}_finger'] = wrist + fore @ (0, -0.145, 0.01)
    frames |= {f'{side}_upper': upper, f'{side}_fore': fore}


# --- clothes and skin -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Patch:
    """The n visible samples of one solid: `along` its axis (0 to 1 between its ends), `u`, `v` on its surface in metres
    (around and along), `lateral` and `forward` from -1 to 1 in its own frame."""

    along: Array
    u: Array
    v: Array
    lateral: Array
    forward: Array


Paint = Callable[[Patch], Array]  # to colours (n, 3) BGR, 0 to 255, before light


@dataclass(frozen=True)
class Cloth:
    """Two colours (3,) mixed by a square `tile` of 0 to 1, `texels` of which make a metre."""

    colour: Array
    second: Array
    tile: Array
    texels: float

    def __call__(self, patch: Patch) -> Array:
        size = len(self.tile)
        rows = (patch.v * self.texels).astype(np.int32) % size
        columns = (patch.u * self.texels + size * 8).astype(np.int32) % size
        return np.asarray(self.colour + (self.second - self.colour) * self.tile[rows, columns, None])


def sample_colour(rng: Generator) -> Array:
    """A colour (3,) from grey to garish."""
    tint = rng.uniform(-1, 1, 3) * rng.choice((8, 45, 100))
    return np.asarray(np.clip(rng.uniform(15, 235) + tint, 5, 250), np.float32)


SKIN_TONES = np.array(((182, 200, 234), (150, 178, 224), (118, 150, 205), (86, 118, 172), (58, 84, 130), (38, 56, 90)))
HAIR_COLOURS = np.array(((20, 20, 24), (28, 42, 66), (40, 70, 110), (90, 150, 200), (150, 152, 155), (30, 60, 140)))


def sample_skin(rng: Generator) -> Cloth:
    """Skin with faint blotches."""
    tone = SKIN_TONES[rng.integers(len(SKIN_TONES))] * rng.uniform(0.92, 1.07) + rng.normal(0, 4, 3)
    return _wrinkled(rng, tone.astype(np.float32), 0.93)


def _wrinkled(rng: Generator, colour: Array, darkest: float) -> Cloth:
    tile = cv2.resize(rng.random((6, 6), dtype=np.float32), (32, 32), interpolation=cv2.INTER_LINEAR)
    return Cloth(colour, colour * np.float32(darkest), tile, 32 / 0.35)


def _stripes(rng: Generator) -> Array:
    width = int(rng.choice((2, 4, 8)))
    thin = rng.integers(1, 2 * width)
    return np.asarray(np.arange(32) % (2 * width) < thin, np.float32)


def _pattern(rng: Generator) -> Array:
    """A tile (32, 32) of stripes across, stripes along, checks, diagonals or blotches."""
    kind = rng.integers(5)
    stripes = _stripes(rng)
    if kind == 0:
        return np.repeat(stripes[:, None], 32, 1)
    if kind == 1:
        return np.repeat(stripes[None], 32, 0)
    if kind == 2:
        return (stripes[:, None] + _stripes(rng)[None]) / 2
    if kind == 3:
        return np.asarray(stripes[(np.arange(32)[:, None] + np.arange(32)) % 32])
    blotches = cv2.resize(rng.random((8, 8), dtype=np.float32), (32, 32), interpolation=cv2.INTER_CUBIC)
    return (blotches > 0.5).astype(np.float32)


def sample_cloth(rng: Generator, plain: float = 0.5) -> Cloth:
    """A cloth that is plain with the given chance."""
    colour = sample_colour(rng)
    if rng.random() < plain:
        return _wrinkled(rng, colour, float(rng.uniform(0.72, 0.9)))
    return Cloth(colour, sample_colour(rng), _pattern(rng), 32 / float(rng.uniform(0.18, 0.5)))


def _cut(first: Paint, second: Paint, at: float) -> Paint:
    """One paint up to `at` along the solid, another beyond."""

    def paint(patch: Patch) -> Array:
        if at <= 0:
            return second(patch)
        return first(patch) if at >= 1 else np.where((patch.along < at)[:, None], first(patch), second(patch))

    return paint


def _face(skin: Paint, hair: Array, hairline: float, beard: bool, lips: Array) -> Paint:
    """A face on the forward side of the head, hair on the rest; `hairline` is where the hair starts above the eyes."""

    def paint(patch: Patch) -> Array:
        colour = skin(patch)
        across, high, front = np.abs(patch.lateral), patch.along, patch.forward
        haired = (high > hairline + 0.25 * front) | ((front < 0.12) & (high > -0.25))
        if beard:
            haired |= (high < 0.12) & (front > 0) & (across < 0.9) & ~((high > 0) & (across < 0.28))
        colour[haired] = hair
        seen = front > 0.2
        colour[seen & (((across - 0.4) / 0.17) ** 2 + ((high - 0.45) / 0.1) ** 2 < 1)] = (30, 28, 30)
        colour[seen & (np.abs(across - 0.42) < 0.24) & (np.abs(high - 0.66) < 0.05)] = hair * 0.7
        colour[seen & (across < 0.27) & (np.abs(high + 0.14) < 0.06)] = lips
        return colour

    return paint


def _print_on_front(shirt: Paint, colour: Array, kind: int) -> Paint:
    """A neckline, a buttoned line or an emblem on the breast, which a back does not have."""

    def paint(patch: Patch) -> Array:
        painted = shirt(patch)
        front, across = patch.forward > 0.1, np.abs(patch.lateral)
        if kind == 0:
            painted[front & (across < 0.09)] = colour
        elif kind == 1:
            painted[front & (across < 0.5) & (np.abs(patch.along - 0.6) < 0.17)] = colour
        elif kind == 2:
            painted[front & (across < 0.9 * (patch.along - 0.62))] = colour
        return painted

    return paint


@dataclass(frozen=True)
class Outfit:
    """Paints by part, how loosely they hang, and the head's looks."""

    legwear: Cloth
    chest: Paint
    pelvis: Paint
    upper: Paint
    fore: Paint
    thigh: Paint
    shin: Paint
    shoe: Paint
    skin: Cloth
    head: Paint
    hair: Paint
    hair_style: int  # 0 short hair, 1 long hair, 2 a pony tail, 3 a cap with a peak
    sleeve_width: float
    trouser_width: float
    skirt: float  # its length down the thigh, 0 for none


def sample_outfit(rng: Generator) -> Outfit:
    """Dress somebody: sleeves, trousers, shorts or a skirt, socks, shoes and hair."""
    skin, shirt, legwear = sample_skin(rng), sample_cloth(rng, 0.4), sample_cloth(rng, 0.7)
    sleeve = float(rng.choice((0.0, rng.uniform(0.4, 0.8), 2.0), p=(0.2, 0.45, 0.35)))
    leg = float(rng.choice((rng.uniform(0.2, 0.5), rng.uniform(0.6, 1.0), 2.0), p=(0.2, 0.25, 0.55)))
    skirt = float(rng.uniform(0.4, 1.05)) if rng.random() < 0.14 else 0.0
    leg = float(rng.choice((rng.uniform(0.3, 0.5), 2.0), p=(0.7, 0.3))) if skirt else leg
    legwear = shirt if skirt and rng.random() < 0.5 else legwear
    sock = _wrinkled(rng, sample_colour(rng), 0.9)
    hair_colour = (HAIR_COLOURS[rng.integers(len(HAIR_COLOURS))] * rng.uniform(0.8, 1.2)).astype(np.float32)
    cap = rng.random() < 0.12
    top = sample_colour(rng) if cap else hair_colour
    return Outfit(
        legwear=legwear,
        chest=_print_on_front(shirt, sample_colour(rng), int(rng.integers(5))),
        pelvis=_cut(legwear, shirt, float(rng.uniform(0.3, 0.75))),
        upper=_cut(shirt, skin, sleeve),
        fore=_cut(shirt, skin, 0.9 if sleeve > 1 else 0.0),
        thigh=_cut(legwear, skin, leg),
        shin=_cut(legwear, skin, 0.93) if leg > 1 else _cut(skin, sock, float(rng.uniform(0.3, 1.1))),
        shoe=_wrinkled(rng, sample_colour(rng), 0.8),
        skin=skin,
        head=_face(skin, top, float(rng.uniform(0.72, 1.15)), rng.random() < 0.15, skin.colour * (0.75, 0.68, 0.9)),
        hair=_wrinkled(rng, top, 0.7),
        hair_style=3 if cap else int(rng.choice((0, 1, 2), p=(0.6, 0.27, 0.13))),
        sleeve_width=float(rng.uniform(1.02, 1.3)),
        trouser_width=float(rng.uniform(1.02, 1.3)),
        skirt=skirt,
    )


# --- solids: what a body is drawn of --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Solid:
    """An elliptic tube with round ends, in metres of the body frame.

    `ends` (2, 3) is its axis, `frame` (3, 3) has columns lateral, along and forward, `widths` and `depths` (STEPS,) are
    half the lateral and the forward extent along the axis, `caps` how far the two ends bulge, and `part` its tag.
    """

    part: str
    ends: Array
    frame: Array
    widths: Array
    depths: Array
    caps: tuple[float, float]
    paint: Paint


LIMB_PARTS = ('upper', 'fore', 'hand', 'thigh', 'shin', 'foot')
PART_NAMES = (
    'pelvis',
    'chest',
    'neck',
    'head',
    'skirt',
    *(f'{side}_{part}' for side, _ in SIDES for part in LIMB_PARTS),
)
TAGS = {name: number for number, name in enumerate(PART_NAMES, start=1)}
_AT = np.linspace(0, 1, STEPS)


def _profile(*knots: tuple[float, float]) -> Array:
    at, value = np.array(knots, float).T
    return np.asarray(np.interp(_AT, at, value))


THIGH = _profile((0, 0.084), (0.3, 0.084), (0.7, 0.064), (1, 0.054))
SHIN = _profile((0, 0.052), (0.15, 0.052), (0.35, 0.057), (0.75, 0.04), (1, 0.035))
UPPER = _profile((0, 0.056), (0.25, 0.052), (0.5, 0.05), (0.85, 0.041), (1, 0.039))
FORE = _profile((0, 0.039), (0.25, 0.044), (0.7, 0.033), (1, 0.027))
HAND = _profile((0, 0.026), (0.3, 0.037), (0.6, 0.038), (1, 0.024))
FOOT = _profile((0, 0.036), (0.4, 0.04), (0.75, 0.044), (1, 0.034))
FOOT_HEIGHT = _profile((0, 0.036), (0.3, 0.042), (0.7, 0.027), (1, 0.02))
NECK = _profile((0, 0.062), (0.4, 0.054), (1, 0.054))
HEAD = _profile((0, 0.058), (0.4, 0.071), (0.7, 0.076), (1, 0.072))
HEAD_DEPTH = _profile((0, 0.076), (0.4, 0.088), (0.7, 0.095), (1, 0.09))
PELVIS = _profile((0, 0.155), (0.25, 0.165), (0.6, 0.15), (1, 0.138))
PELVIS_DEPTH = _profile((0, 0.1), (0.3, 0.118), (1, 0.1))
CHEST = _profile((0, 0.136), (0.25, 0.143), (0.6, 0.168), (0.78, 0.168), (0.9, 0.125), (1, 0.07))
CHEST_DEPTH = _profile((0, 0.1), (0.3, 0.112), (0.6, 0.122), (0.85, 0.095), (1, 0.065))
SKIRT = _profile((0, 0.15), (0.25, 0.175), (1, 0.24))


def _along(frame: Array, start: Array, end: Array) -> Array:
    """`frame` turned so that its second column points from start to end and the others stay as near as they can."""
    axis = (end - start) / max(float(np.linalg.norm(end - start)), 1e-6)
    lateral = frame[:, 0] - axis * np.dot(frame[:, 0], axis)
    lateral = lateral / max(float(np.linalg.norm(lateral)), 1e-6)
    (a, b, c), (d, e, f) = lateral, axis
    return np.array(((a, d, b * f - c * e), (b, e, c * d - a * f), (c, f, a * e - b * d)))


def body_solids(figure: Figure, outfit: Outfit) -> list[Solid]:
    """The drawable parts of a dressed body, in no order."""
    solids = [*_trunk_solids(figure, outfit), *_head_solids(figure, outfit)]
    for side, sign in SIDES:
        solids += _arm_solids(figure, outfit, side)
        solids += _leg_solids(figure, outfit, side, sign)
    return solids


def _trunk_solids(figure: Figure, outfit: Outfit) -> Iterator[Solid]:
    p, f, b = figure.points, figure.frames, figure.build
    wide, deep = b.shoulder / 0.172, b.girth
    low, high = p['pelvis'] - f['pelvis'][:, 1] * 0.03, p['waist'] + f['pelvis'][:, 1] * 0.02
    hips = b.hip / 0.095
    belly = np.linspace(hips, (hips + b.girth) / 2, STEPS)
    yield Solid(
        'pelvis', np.stack((low, high)), _along(f['pelvis'], low, high), PELVIS * belly, PELVIS_DEPTH * deep,
        (0.05, 0.03), outfit.pelvis,
    )  # fmt: skip
    low, high = p['waist'] - f['chest'][:, 1] * 0.03, p['neck'] - f['chest'][:, 1] * 0.01
    breadth = np.linspace((hips + b.girth) / 2, wide, STEPS)
    yield Solid(
        'chest', np.stack((low, high)), _along(f['chest'], low, high), CHEST * breadth, CHEST_DEPTH * deep,
        (0.03, 0.02), outfit.chest,
    )  # fmt: skip
    if outfit.skirt:
        yield _skirt(figure, outfit, hips)


def _skirt(figure: Figure, outfit: Outfit, hips: float) -> Solid:
    p = figure.points
    knees = (p['left_knee'] + p['right_knee']) / 2
    start = p['pelvis'] + figure.frames['pelvis'][:, 1] * 0.08
    end = p['pelvis'] + (knees - p['pelvis']) * outfit.skirt
    apart = float(np.linalg.norm(p['left_knee'] - p['right_knee'])) * outfit.skirt / 2
    flare = np.maximum(SKIRT * hips, _AT * (apart + 0.09))
    return Solid(
        'skirt', np.stack((start, end)), _along(figure.frames['pelvis'], start, end), flare, flare * 0.72,
        (0.02, 0.015), outfit.legwear,
    )  # fmt: skip


def _head_solids(figure: Figure, outfit: Outfit) -> Iterator[Solid]:
    p, frame, size = figure.points, figure.frames['head'], figure.build.head

    def at(*place: float) -> Array:
        return np.asarray(p['skull'] + frame @ (np.array(place) * size))

    def solid(ends: Array, radius: Array, depth: Array, caps: tuple[float, float], paint: Paint) -> Solid:
        turned = _along(frame, ends[0], ends[1])
        return Solid('head', ends, turned, radius * size, depth * size, (caps[0] * size, caps[1] * size), paint)

    low = p['neck'] - figure.frames['chest'][:, 1] * 0.02
    ends = np.stack((low, at(0, 0.05, 0)))
    girth = NECK * figure.build.muscle
    yield Solid('neck', ends, _along(figure.frames['neck'], *ends), girth, girth, (0.02, 0.02), outfit.skin)
    yield solid(np.stack((at(0, 0.05, 0.012), at(0, 0.15, 0))), HEAD, HEAD_DEPTH, (0.055, 0.068), outfit.head)
    nose = np.full(STEPS, 0.013)
    yield solid(np.stack((at(0, 0.1, 0.082), at(0, 0.068, 0.098))), nose, nose, (0.01, 0.01), outfit.skin)
    for x in (-0.074, 0.074):
        ends, ear = np.stack((at(x, 0.062, -0.005), at(x, 0.095, -0.012))), np.full(STEPS, 0.012)
        yield solid(ends, ear, ear * 1.6, (0.012, 0.012), outfit.skin)
    yield from _hair_solids(outfit, solid, at)


def _hair_solids(outfit: Outfit, solid: Callable[..., Solid], at: Callable[..., Array]) -> Iterator[Solid]:
    if outfit.hair_style == 1:
        fall = _profile((0, 0.078), (0.5, 0.085), (1, 0.07))
        yield solid(np.stack((at(0, 0.12, -0.035), at(0, -0.06, -0.06))), fall, fall * 0.62, (0.05, 0.02), outfit.hair)
    elif outfit.hair_style == 2:
        tail = _profile((0, 0.022), (0.4, 0.034), (1, 0.012))
        yield solid(np.stack((at(0, 0.15, -0.095), at(0, -0.01, -0.13))), tail, tail, (0.02, 0.02), outfit.hair)
    elif outfit.hair_style == 3:
        peak = _profile((0, 0.07), (1, 0.055))
        yield solid(np.stack((at(0, 0.15, 0.06), at(0, 0.14, 0.14))), peak, peak * 0.15, (0.01, 0.02), outfit.hair)


def _limb(figure: Figure, part: str, frame: str, ends: tuple[str, str], radius: Array, paint: Paint) -> Solid:
    start, end = figure.points[ends[0]], figure.points[ends[1]]
    caps = (float(radius[0]), float(radius[-1]))
    return Solid(part, np.stack((start, end)), _along(figure.frames[frame], start, end), radius, radius, caps, paint)


def _arm_solids(figure: Figure, outfit: Outfit, side: str) -> Iterator[Solid]:
    thick = figure.build.muscle * (0.6 + 0.4 * figure.build.girth)
    sleeve = np.linspace(1, outfit.sleeve_width, STEPS)
    joints = (f'{side}_shoulder', f'{side}_elbow', f'{side}_wrist', f'{side}_finger')
    yield _limb(figure, f'{side}_upper', f'{side}_upper', joints[:2], UPPER * thick * sleeve, outfit.upper)
    yield _limb(figure, f'{side}_fore', f'{side}_fore', joints[1:3], FORE * thick, outfit.fore)
    start, end = figure.points[joints[2]], figure.points[joints[3]]
    frame = _along(figure.frames[f'{side}_fore'], start, end)
    yield Solid(f'{side}_hand', np.stack((start, end)), frame, HAND * 0.6, HAND, (0.02, 0.02), outfit.skin)


def _leg_solids(figure: Figure, outfit: Outfit, side: str, sign: float) -> Iterator[Solid]:
    thick = figure.build.muscle * (0.5 + 0.5 * figure.build.girth)
    loose = outfit.trouser_width
    joints = (f'{side}_hip', f'{side}_knee', f'{side}_ankle')
    yield _limb(figure, f'{side}_thigh', f'{side}_thigh', joints[:2], THIGH * thick * (0.8 + 0.2 * loose), outfit.thigh)
    yield _limb(figure, f'{side}_shin', f'{side}_shin', joints[1:], SHIN * thick * loose, outfit.shin)
    start, end = figure.points[f'{side}_heel'], figure.points[f'{side}_toe']
    frame = _along(figure.frames[f'{side}_foot'], start, end)
    yield Solid(f'{side}_foot', np.stack((start, end)), frame, FOOT, FOOT_HEIGHT, (0.035, 0.04), outfit.shoe)


# --- drawing into a depth buffer ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Canvas:
    """Buffers of FINE cells a pixel: `colour` (h, w, 3) uint8, `depth` (h, w) metres towards the viewer, and `tag`
    (h, w): 0 for the background, OCCLUDER, or PARTS * person + a part's tag."""

    colour: Array
    depth: Array
    tag: Array


@dataclass(frozen=True)
class View:
    """Where a person is seen: `camera` (3, 3) turns body into view, `origin` (2,) is the hips' pixel, `scale` pixels a
    metre at the hips, `distance` metres from the camera, `depth` metres nearer than the scene's middle."""

    camera: Array
    origin: Array
    scale: float
    distance: float
    depth: float

    def project(self, points: Array) -> tuple[Array, Array, Array]:
        """View-frame metres (..., 3) to pixels (..., 2), pixels a metre (...) and depth in the scene (...)."""
        zoom = self.scale * self.distance / (self.distance - points[..., 2])
        return self.origin + points[..., :2] * zoom[..., None], zoom, points[..., 2] + self.depth


@dataclass(frozen=True)
class Light:
    """`direction` (3,) towards the light in the view frame, its strength, and what shade keeps."""

    direction: Array
    strength: float
    ambient: float


@dataclass(frozen=True)
class _Tube:
    """A solid as it lies in the picture: pixels, unit vectors along and across, and tables along its axis (STEPS,)."""

    start: Array
    length: float
    along: Array
    across: Array
    zoom: float
    caps: Array  # pixels the two ends bulge
    width: Array  # pixels from axis to contour
    slant: Array  # metres of depth from axis to contour
    bulge: Array  # metres of depth from axis to the viewer's side
    depth: Array  # metres of depth at the two ends


def _lay_out(solid: Solid, view: View) -> tuple[_Tube, Array]:
    """The tube of a solid and its frame in the view."""
    frame = view.camera @ solid.frame
    pixels, zooms, depth = view.project(solid.ends @ view.camera.T)
    reach = pixels[1] - pixels[0]
    length = float(np.hypot(*reach))
    along = reach / length if length > 1e-3 else np.array((0.0, 1.0))
    across = np.array((-along[1], along[0]))
    lateral, forward = solid.widths * (frame[:2, 0] @ across), solid.depths * (frame[:2, 2] @ across)
    width = np.sqrt(lateral**2 + forward**2) + 1e-4
    lateral_z, forward_z = solid.widths * frame[2, 0], solid.depths * frame[2, 2]
    slant = (lateral * lateral_z + forward * forward_z) / width
    end_z = max(solid.caps) * frame[2, 1]
    bulge = np.sqrt(np.maximum(lateral_z**2 + forward_z**2 + end_z**2 - slant**2, 1e-6))
    sizes = np.stack((solid.widths[[0, -1]], np.array(solid.caps), solid.depths[[0, -1]]))
    caps = np.sqrt(((sizes.T * (along @ frame[:2])) ** 2).sum(1)) + 1e-4
    table = np.linspace(zooms[0], zooms[1], STEPS)
    tube = _Tube(
        pixels[0], length, along, across, float(zooms.mean()), caps * zooms, width * table, slant, bulge, depth
    )
    return tube, frame


def _window(canvas: Canvas, tube: _Tube) -> tuple[slice, slice] | None:
    """The rows and columns of cells that a tube may touch."""
    end = tube.start + tube.along * tube.length
    reach = max(float(tube.width.max()), float(tube.caps.max())) + 1
    low = np.floor((np.minimum(tube.start, end) - reach) * FINE).astype(int)
    high = np.ceil((np.maximum(tube.start, end) + reach) * FINE).astype(int)
    (x0, y0), (x1, y1) = np.maximum(low, 0), np.minimum(high, canvas.tag.shape[::-1])
    return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None


def draw_solid(canvas: Canvas, solid: Solid, view: View, light: Light, tag: int) -> None:
    """Draw a solid wherever it is nearer than what is there."""
    tube, frame = _lay_out(solid, view)
    window = _window(canvas, tube)
    if window is None:
        return
    rows, columns = window
    x = ((np.arange(columns.start, columns.stop) + 0.5) / FINE - 0.5 - tube.start[0]).astype(np.float32)
    y = ((np.arange(rows.start, rows.stop) + 0.5) / FINE - 0.5 - tube.start[1]).astype(np.float32)[:, None]
    ax, ay = map(np.float32, tube.along)
    far = x * ax + y * ay  # pixels along the axis
    side = y * ax - x * ay  # pixels across
    held = np.clip(far, 0, np.float32(tube.length))
    step = (held * np.float32((STEPS - 1) / max(tube.length, 1e-3))).astype(np.int32)
    side = side / tube.width.astype(np.float32)[step]
    over = far - held
    over = over / np.where(over < 0, *tube.caps.astype(np.float32))
    round_ = 1 - side * side - over * over
    inside = round_ > 0
    slope = np.float32((tube.depth[1] - tube.depth[0]) / max(tube.length, 1e-3))
    rise = np.sqrt(np.maximum(round_, 0))
    lift = tube.slant.astype(np.float32)[step] * side + tube.bulge.astype(np.float32)[step] * rise
    depth = np.float32(tube.depth[0]) + slope * held + lift
    inside &= depth > canvas.depth[window]
    if inside.any():
        samples = (a[inside] for a in (far, side, over, rise, depth, step))
        _fill(canvas, window, inside, tag, *_coloured(solid, tube, frame, light, *samples))


def _coloured(solid: Solid, tube: _Tube, frame: Array, light: Light, *samples: Array) -> tuple[Array, Array]:
    """Lit colours (n, 3) uint8 and depths (n,) of the samples that show."""
    far, side, over, rise, depth, step = samples
    across = side * tube.width.astype(np.float32)[step] / np.float32(tube.zoom)  # metres
    ahead = far / np.float32(tube.zoom)
    offset = np.stack((tube.along, tube.across), 1).astype(np.float32) @ np.stack((ahead, across))
    z = depth - np.float32(tube.depth[0])
    frame = frame.astype(np.float32)
    local = frame[:2].T @ offset + frame[2][:, None] * z  # lateral, along, forward in metres
    reach = np.float32(np.linalg.norm(solid.ends[1] - solid.ends[0]))
    lateral = local[0] / solid.widths.astype(np.float32)[step]
    forward = local[2] / solid.depths.astype(np.float32)[step]
    colours = solid.paint(Patch(local[1] / reach, across, ahead + 2, lateral, forward))
    lx, ly, lz = light.direction
    facing = side * float(tube.across @ (lx, ly)) + over * float(tube.along @ (lx, ly)) + rise * float(lz)
    edge = side * side
    shade = light.ambient + light.strength * np.maximum(facing, 0) - 0.2 * edge * edge
    return np.clip(colours * shade[:, None], 0, 255).astype(np.uint8), depth


def _fill(canvas: Canvas, window: tuple[slice, slice], inside: Array, tag: int, colours: Array, depth: Array) -> None:
    canvas.colour[window][inside] = colours
    canvas.depth[window][inside] = depth
    canvas.tag[window][inside] = tag


def stamp(canvas: Canvas, mask: Array, colour: Array, depth: float, tag: int = OCCLUDER) -> None:
    """Paint `colour`, one (3,) or a picture (h, w, 3), over the cells of `mask` (h, w) that lie behind `depth`."""
    inside = (mask > 0) & (canvas.depth < depth)
    canvas.colour[inside] = colour if colour.ndim == 1 else colour[inside]
    canvas.depth[inside] = depth
    canvas.tag[inside] = tag


# --- who is seen ----------------------------------------------------------------------------------------------------

_LIMB_ENDS = {
    'ankle': (0.095, ('shin', 'foot')),
    'knee': (0.115, ('thigh', 'shin')),
    'hip': (0.25, ('thigh',)),
    'wrist': (0.075, ('fore', 'hand')),
    'elbow': (0.1, ('upper', 'fore')),
    'shoulder': (0.24, ('upper',)),
}
_SHARED_ENDS: dict[str, tuple[float, tuple[str, ...]]] = {
    'hip': (0, ('pelvis', 'skirt', 'left_thigh', 'right_thigh')),
    'knee': (0, ('skirt',)),
    'shoulder': (0, ('chest',)),
}


def flesh(joint: str) -> tuple[float, tuple[int, ...]]:
    """How many metres of its own body may lie over a joint that counts as seen, and the tags of that body."""
    side, _, name = joint.partition('_')
    if name in _LIMB_ENDS:
        thickness, parts = _LIMB_ENDS[name]
        shared = _SHARED_ENDS.get(name, (0, ()))[1]
        return thickness, tuple(TAGS[f'{side}_{part}'] for part in parts) + tuple(TAGS[part] for part in shared)
    if joint == 'neck':
        return 0.24, tuple(TAGS[part] for part in ('neck', 'chest', 'head', 'left_upper', 'right_upper'))
    return (0.2 if joint == 'head_top' else 0.045), (TAGS['head'],)


_FLESH = {
    joint: (thickness, np.isin(np.arange(PARTS), tags)) for joint in ALL_JOINTS for thickness, tags in (flesh(joint),)
}


def occluded(canvas: Canvas, joint: str, pixel: Array, depth: float, person: int) -> bool:
    """Whether most of the cells at a joint show something else, or its own body but far nearer than the joint.

    A joint outside the picture counts as occluded.
    """
    column, row = np.rint((pixel + 0.5) * FINE - 0.5).astype(int)
    rows, columns = canvas.tag.shape
    if not (0 <= row < rows and 0 <= column < columns):
        return True
    window = slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2)
    thickness, tags = _FLESH[joint]
    shown = canvas.tag[window]
    own = (shown // PARTS == person) & tags[shown % PARTS]
    return bool((own & (canvas.depth[window] < depth + thickness)).mean() < 0.5)


# --- backgrounds ----------------------------------------------------------------------------------------------------


def _points(array: Any) -> Array:
    """Coordinates as OpenCV takes them."""
    return np.asarray(np.rint(np.asarray(array, float)), np.int32)


def _bgr(colour: Array) -> tuple[float, float, float]:
    b, g, r = (float(c) for c in colour)
    return b, g, r


def _noise(rng: Generator, size: tuple[int, int], cells: int, channels: int) -> Array:
    """Smooth noise (h, w, channels) of about unit spread, `cells` bumps along the longer side."""
    w, h = size
    shape = max(2, cells * h // max(w, h)), max(2, cells * w // max(w, h)), channels
    field = cv2.resize(rng.standard_normal(shape, dtype=np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(field).reshape(h, w, channels)


def draw_background(rng: Generator, size: tuple[int, int]) -> Array:
    """A cluttered place (h, w, 3) uint8 of the given width and height in cells."""
    w, h = size
    picture: Any = _ground(rng, size)
    for _ in range(int(rng.integers(4, 13))):
        draw = _CLUTTER[int(rng.integers(len(_CLUTTER)))]
        draw(rng, picture)
    if rng.random() < 0.45:
        focus = float(rng.uniform(0.8, 4.0))
        picture = cv2.GaussianBlur(picture, (0, 0), focus)
    grain: Any = _noise(rng, (w // 2, h // 2), max(w, h) // 4, 1) * float(rng.uniform(0, 12))
    grain = cv2.resize(grain, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.add(picture, np.repeat(grain[:, :, None], 3, 2), dtype=cv2.CV_8U))


SURROUNDINGS = np.array(
    ((225, 190, 150), (215, 215, 210), (150, 145, 140), (60, 120, 80), (50, 90, 60), (80, 115, 150), (120, 160, 190),
     (90, 90, 95), (55, 60, 70), (170, 200, 215), (110, 80, 50), (40, 45, 40))
)  # sky, haze, concrete, grass, wood, earth, sand, asphalt, shade, plaster, water, night  # fmt: skip


def _surroundings(rng: Generator) -> Array:
    """A colour (3,) of a place: most often a natural one."""
    if rng.random() < 0.25:
        return sample_colour(rng)
    colour = SURROUNDINGS[rng.integers(len(SURROUNDINGS))] * rng.uniform(0.7, 1.15) + rng.normal(0, 8, 3)
    return np.asarray(np.clip(colour, 5, 250), np.float32)


def _ground(rng: Generator, size: tuple[int, int]) -> Array:
    """Two graded colours meeting at a horizon, under noise of several scales."""
    w, h = size
    top, bottom = _surroundings(rng), _surroundings(rng)
    rows = np.linspace(0, 1, h, dtype=np.float32)[:, None]
    if rng.random() < 0.7:
        horizon = float(rng.uniform(0.35, 0.9))
        rows = np.where(rows > horizon, 0.75 + 0.25 * rows, 0.3 * rows)
    graded = (top + (bottom - top) * rows)[:, None]
    small = (w // 4, h // 4)
    noise: Any = _noise(rng, small, 4, 3) * float(rng.uniform(2, 12)) + _noise(rng, small, 5, 1) * float(
        rng.uniform(4, 22)
    )
    noise += _noise(rng, small, int(rng.integers(8, 20)), 1) * float(rng.uniform(2, 24))
    noise += _noise(rng, small, int(rng.integers(24, 60)), 1) * float(rng.uniform(2, 20))
    noise = cv2.resize(noise, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(graded + noise, 0, 255), np.uint8)


def _clutter_rectangle(rng: Generator, picture: Array) -> None:
    h, w = picture.shape[:2]
    corner, extent = rng.uniform((-0.2, -0.2), (0.9, 0.9)) * (w, h), rng.uniform(0.06, 0.6, 2) * (w, h)
    (x0, y0), (x1, y1) = np.maximum(_points([corner, corner + extent]), 0)
    if x1 <= x0 or y1 <= y0 or x0 >= w or y0 >= h:
        return
    region = picture[y0:y1, x0:x1]
    cloth = sample_cloth(rng, 0.45)
    zoom = float(rng.uniform(0.15, 0.9))
    rows = (np.arange(region.shape[0]) * zoom).astype(int) % 32
    columns = (np.arange(region.shape[1]) * zoom).astype(int) % 32
    region[:] = np.clip(cloth.colour + (cloth.second - cloth.colour) * cloth.tile[rows][:, columns, None], 0, 255)


def _clutter_polygon(rng: Generator, picture: Array) -> None:
    h, w = picture.shape[:2]
    corners = rng.uniform(0, (w, h)) + rng.uniform(-0.35, 0.35, (int(rng.integers(3, 7)), 2)) * (w, h)
    cv2.fillPoly(picture, [_points(corners)], _bgr(sample_colour(rng)))


def _clutter_lines(rng: Generator, picture: Array) -> None:
    """A fence, a rail, wires or court lines: parallel strokes."""
    h, w = picture.shape[:2]
    start, reach = rng.uniform(-0.2, 1.0, 2) * (w, h), rng.normal(0, 0.7, 2) * (w, h)
    if rng.random() < 0.5:
        reach[int(rng.integers(2))] = 0
    gap = rng.normal(0, 0.12, 2) * (w, h)
    colour, width = _bgr(sample_colour(rng)), int(rng.integers(1, 8))
    for i in range(int(rng.integers(1, 8))):
        cv2.line(picture, _points(start + i * gap).tolist(), _points(start + i * gap + reach).tolist(), colour, width)


def _clutter_building(rng: Generator, picture: Array) -> None:
    """A front with rows of windows."""
    h, w = picture.shape[:2]
    x, width = rng.uniform(-0.2, 0.9) * w, rng.uniform(0.2, 0.6) * w
    top, foot = rng.uniform(0, 0.4) * h, rng.uniform(0.5, 0.95) * h
    cv2.rectangle(
        picture, _points((x, top)).tolist(), _points((x + width, foot)).tolist(), _bgr(sample_colour(rng)), -1
    )
    across, down, colour = int(rng.integers(2, 6)), int(rng.integers(2, 6)), _bgr(sample_colour(rng))
    cell = np.array((width / across, (foot - top) / down))
    for row in range(down):
        for column in range(across):
            corner = np.array((x, top)) + cell * (column + 0.22, row + 0.2)
            cv2.rectangle(picture, _points(corner).tolist(), _points(corner + cell * 0.55).tolist(), colour, -1)


def _clutter_tree(rng: Generator, picture: Array) -> None:
    """A trunk under a crown of blobs."""
    h, w = picture.shape[:2]
    x, foot, top = rng.uniform(0, w), rng.uniform(0.5, 1.0) * h, rng.uniform(0, 0.45) * h
    bark = np.array((45, 65, 90)) * rng.uniform(0.5, 1.3)
    cv2.line(picture, _points((x, foot)).tolist(), _points((x, top)).tolist(), _bgr(bark), int(rng.integers(4, 20)))
    draw_leaves(rng, picture, np.array((x, top)), float(rng.uniform(0.1, 0.25) * w), 26)


def draw_leaves(
    rng: Generator, picture: Array, middle: Array, reach: float, count: int, mask: Array | None = None
) -> None:
    """Blobs of green about a place, on the picture and on a mask of the same size."""
    leaf = np.array((40, 110, 60)) * rng.uniform(0.4, 1.5) + rng.normal(0, 15, 3)
    for offset in rng.normal(0, 0.55, (count, 2)):
        place, size = _points(middle + offset * reach).tolist(), _points(rng.uniform(0.1, 0.38, 2) * reach + 1).tolist()
        turn = float(rng.uniform(0, 180))
        cv2.ellipse(picture, place, size, turn, 0, 360, _bgr(np.clip(leaf * rng.uniform(0.6, 1.4), 0, 255)), -1)
        if mask is not None:
            cv2.ellipse(mask, place, size, turn, 0, 360, 255, -1)


def _clutter_furniture(rng: Generator, picture: Array) -> None:
    """A table, a bench or a chair: a slab on legs, perhaps with a back."""
    h, w = picture.shape[:2]
    x, width = rng.uniform(-0.1, 0.8) * w, rng.uniform(0.2, 0.6) * w
    top, foot = sorted(rng.uniform(0.4, 1.0, 2) * h)
    colour, thick = _bgr(sample_colour(rng)), int(rng.integers(3, 14))
    for leg in (x, x + width):
        cv2.line(picture, _points((leg, top)).tolist(), _points((leg, foot)).tolist(), colour, thick)
    cv2.line(picture, _points((x, top)).tolist(), _points((x + width, top)).tolist(), colour, thick + 3)
    if rng.random() < 0.5:
        back = _points([(x, top), (x + width * 0.1, top - (foot - top))])
        cv2.line(picture, back[0].tolist(), back[1].tolist(), colour, thick)


def _clutter_disc(rng: Generator, picture: Array) -> None:
    h, w = picture.shape[:2]
    size = _points(rng.uniform(0.02, 0.16, 2) * max(w, h) + 1).tolist()
    place = _points(rng.uniform(0, (w, h))).tolist()
    cv2.ellipse(picture, place, size, float(rng.uniform(0, 180)), 0, 360, _bgr(sample_colour(rng)), -1)


_CLUTTER = (
    _clutter_rectangle,
    _clutter_rectangle,
    _clutter_polygon,
    _clutter_polygon,
    _clutter_lines,
    _clutter_building,
    _clutter_tree,
    _clutter_furniture,
    _clutter_disc,
)


# --- scenes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """One person who will be drawn."""

    figure: Figure
    outfit: Outfit
    view: View


def sample_camera(rng: Generator, topple: float) -> Array:
    """A rotation (3, 3) from the body to the view frame: mostly the front, often a side or the back."""
    yaw = float(rng.normal(0, 35) if rng.random() < 0.65 else rng.uniform(-180, 180))
    if rng.random() < 0.1:
        yaw = float(rng.choice((-90, 90)) + rng.normal(0, 12))
    pitch, roll = float(rng.normal(5, 8)), float(rng.normal(0, 5)) + topple
    return camera_rotation(yaw, pitch, roll)


def camera_rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Array:
    """Body to view frame (3, 3), degrees: 0 looks at the front, yaw 90 at the person's right, pitch from above."""
    flip = np.diag((1.0, -1.0, 1.0))
    return np.asarray(flip @ _rotation('z', roll) @ _rotation('x', pitch) @ _rotation('y', yaw))


def _extent(figure: Figure, view: View) -> Array:
    """The corners (2, 2) in pixels of what a figure covers, about a head's radius around its points."""
    pixels, zoom, _ = view.project(np.stack(list(figure.points.values())) @ view.camera.T)
    reach = 0.07 * zoom[:, None]
    return np.stack(((pixels - reach).min(0), (pixels + reach).max(0)))


def _sample_figure(rng: Generator) -> tuple[Figure, View]:
    """Somebody in a pose, seen at one pixel a metre about (0, 0)."""
    build = sample_build(rng)
    pose = sample_pose(rng)
    figure = pose_body(build, pose)
    view = View(sample_camera(rng, pose.topple), np.zeros(2), 1.0, float(rng.uniform(3.5, 9.0)), 0.0)
    return figure, view


def _scaled(view: View, scale: float, origin: Array, depth: float) -> View:
    return View(view.camera, np.asarray(origin), scale, view.distance, depth)


def _cast_main(rng: Generator, size: tuple[int, int] | None) -> tuple[Member, tuple[int, int]]:
    """The main person, about the middle, and the size of the picture if it was left open."""
    figure, view = _sample_figure(rng)
    corners = _extent(figure, view)
    extent = corners[1] - corners[0]
    length = float(rng.uniform(118, 175))
    scale = length / max(float(extent.max()), 1.4)
    room = rng.uniform(1.05, 1.5, 2)
    if size is None:
        w, h = np.clip(np.rint(extent * scale * room + 8), 110, 210).astype(int)
        size = int(w), int(h)
    else:
        scale = float((np.array(size) / (extent * room)).min())
    scale = min(scale, float(((np.array(size) - 4) / extent).min()))
    slack = np.array(size) - extent * scale
    place = slack * (0.5 + rng.uniform(-0.35, 0.35, 2))
    return Member(figure, sample_outfit(rng), _scaled(view, scale, place - corners[0] * scale, 0.0)), size


def _cast_extra(rng: Generator, size: tuple[int, int], main: View, in_front: bool) -> Member:
    """Somebody else: behind the main person, or in front at the edge of the picture."""
    figure, view = _sample_figure(rng)
    size_ = np.array(size)
    if in_front:
        scale, depth = main.scale * float(rng.uniform(1.0, 1.25)), float(rng.uniform(0.8, 1.5))
        x = size_[0] * float(rng.choice((rng.uniform(-0.12, 0.06), rng.uniform(0.94, 1.12))))
    else:
        ratio = float(rng.uniform(0.5, 1.0))
        scale, depth = main.scale * ratio, -0.9 - 3 * (1 - ratio) - float(rng.uniform(0, 0.4))
        x = size_[0] * float(rng.uniform(-0.05, 1.05))
    y = main.origin[1] + (scale - main.scale) * 0.5 + rng.normal(0, 0.06) * size_[1]
    return Member(figure, sample_outfit(rng), _scaled(view, scale, np.array((x, y)), depth))


def _cast_group(rng: Generator, size: tuple[int, int], people: int) -> list[Member]:
    """Several people side by side at several distances, the nearer the larger and the lower."""
    w, h = size
    ratios = np.sort(rng.uniform(0.45, 0.85, people) * rng.uniform(0.75, 1.0))[::-1]
    slots = rng.permutation(people)
    cast = []
    for ratio, slot in zip(ratios, slots, strict=True):
        figure, view = _sample_figure(rng)
        corners = _extent(figure, view)
        scale = float(ratio * h / max(float((corners[1] - corners[0]).max()), 1.3))
        x = (slot + 0.5 + rng.uniform(-0.45, 0.45)) / people * w
        foot = h * (0.55 + 0.5 * ratio + rng.normal(0, 0.03))
        origin = np.array((x - corners[:, 0].mean() * scale, foot - corners[1, 1] * scale))
        depth = 6 * float(ratio) + float(rng.uniform(0, 0.3))
        cast.append(Member(figure, sample_outfit(rng), _scaled(view, scale, origin, depth)))
    return cast


def sample_light(rng: Generator) -> Light:
    direction = rng.normal((0, -0.7, 0.7), (0.7, 0.4, 0.25))
    direction[2] = abs(direction[2]) + 0.1
    direction /= np.linalg.norm(direction)
    return Light(direction.astype(np.float32), float(rng.uniform(0.3, 0.75)), float(rng.uniform(0.45, 0.65)))


def render_scene(
    rng: Generator,
    size: tuple[int, int] | None = None,
    people: int = 1,
    layout: Literal['portrait', 'group'] = 'portrait',
) -> Scene:
    """Draw one picture.

    Args:
        rng: everything is drawn from it.
        size: (width, height) in pixels; left open, it fits the main person as in Leeds Sports Pose.
        people: how many there are.
        layout: 'portrait' puts the first in the middle and the others around, 'group' spreads all over the picture.
    """
    if layout == 'group':
        size = size or (int(rng.integers(200, 321)), int(rng.integers(180, 261)))
        cast = _cast_group(rng, size, people)
    else:
        main, size = _cast_main(rng, size)
        cast = [main] + [_cast_extra(rng, size, main.view, rng.random() < 0.15) for _ in range(people - 1)]
    light = sample_light(rng)
    w, h = size[0] * FINE, size[1] * FINE
    background = draw_background(rng, (w, h))
    canvas = Canvas(background, np.full((h, w), -100, np.float32), np.zeros((h, w), np.int16))
    _draw_distractors(rng, canvas, cast[0].view, light)
    for number, member in enumerate(cast):
        _draw_shadow(rng, canvas, member)
        draw_person(canvas, member, light, number)
    _draw_occluders(rng, canvas, cast)
    owner = _owners(canvas.tag[::FINE, ::FINE])
    seen = tuple(_see(canvas, owner, member, number) for number, member in enumerate(cast))
    return Scene(_photograph(rng, canvas.colour, size), seen, owner)


def _owners(tag: Array) -> Array:
    return np.where(tag > 0, tag // PARTS + 1, tag).astype(np.int16)


def draw_person(canvas: Canvas, member: Member, light: Light, number: int) -> None:
    for solid in body_solids(member.figure, member.outfit):
        draw_solid(canvas, solid, member.view, light, PARTS * number + TAGS[solid.part])


def _draw_shadow(rng: Generator, canvas: Canvas, member: Member) -> None:
    """Darken the ground under the lowest point, where nobody stands yet."""
    corners = _extent(member.figure, member.view) * FINE
    middle = _points((corners[:, 0].mean(), corners[1, 1] - 0.05 * member.view.scale * FINE)).tolist()
    size = _points(((corners[1, 0] - corners[0, 0]) * 0.4, 0.07 * member.view.scale * FINE)).tolist()
    dark = float(rng.uniform(0.35, 1.0))
    x0, y0 = max(middle[0] - size[0] - 2, 0), max(middle[1] - size[1] - 2, 0)
    x1, y1 = max(middle[0] + size[0] + 2, 0), max(middle[1] + size[1] + 2, 0)
    region = canvas.colour[y0:y1, x0:x1]
    if not region.size:
        return
    mask = np.zeros(region.shape[:2], np.uint8)
    cv2.ellipse(mask, [middle[0] - x0, middle[1] - y0], size, 0, 0, 360, 255, -1)
    ground = (mask > 0) & (canvas.tag[y0:y1, x0:x1] == 0)
    region[ground] = (region[ground] * dark).astype(np.uint8)


def _draw_distractors(rng: Generator, canvas: Canvas, view: View, light: Light) -> None:
    """Limb-like tubes in the colours of skin and cloth, which are nobody's."""
    h, w = np.array(canvas.tag.shape) / FINE
    for _ in range(int(rng.integers(0, 4))):
        paint = sample_skin(rng) if rng.random() < 0.5 else sample_cloth(rng)
        start = rng.uniform((0, 0), (w, h)) / view.scale
        ends = np.stack((start, start + rng.normal(0, 0.35, 2)))
        radius = rng.uniform(0.025, 0.09) + _AT * rng.uniform(-0.02, 0.02)
        ends = np.pad(ends, ((0, 0), (0, 1)))
        frame = _along(np.eye(3), ends[0], ends[1])
        solid = Solid('background', ends, frame, radius, radius, (0.04, 0.04), paint)
        draw_solid(canvas, solid, View(np.eye(3), np.zeros(2), view.scale, 1000.0, -60.0), light, 0)


def _see(canvas: Canvas, owner: Array, member: Member, number: int) -> Person:
    """What the buffers say about a person."""

    places = np.stack([member.figure.points[name] for name in ALL_JOINTS])
    pixels, _, depth = member.view.project(places @ member.view.camera.T)
    hidden = np.array([occluded(canvas, *each, number) for each in zip(ALL_JOINTS, pixels, depth, strict=True)])
    lsp, coco = ([ALL_JOINTS.index(name) for name in names] for names in (LSP_JOINTS, COCO_JOINTS))
    rows, columns = np.nonzero(owner == number + 1)
    box = (0.0, 0.0, 0.0, 0.0)
    if len(rows):
        x, y = float(columns.min()), float(rows.min())
        box = (x, y, float(columns.max()) - x + 1, float(rows.max()) - y + 1)
    return Person(pixels[lsp], hidden[lsp], pixels[coco], hidden[coco], box, len(rows), member.figure.family)


# --- in front of people ---------------------------------------------------------------------------------------------


def _draw_occluders(rng: Generator, canvas: Canvas, cast: Sequence[Member]) -> None:
    """Sometimes something stands in front of somebody."""
    for member in cast:
        if rng.random() < 0.2:
            corners = _extent(member.figure, member.view) * FINE
            near = member.view.depth + float(rng.uniform(0.7, 1.2))
            _OCCLUDERS[int(rng.integers(len(_OCCLUDERS)))](rng, canvas, corners, near)


def _occlude_with_box(rng: Generator, canvas: Canvas, corners: Array, depth: float) -> None:
    """A crate, a wall or a table top before the lower end or one side."""
    mask, colour = np.zeros(canvas.tag.shape, np.uint8), canvas.colour.copy()
    extent = corners[1] - corners[0]
    width, height = rng.uniform((0.25, 0.1), (1.1, 0.3)) * extent
    x = rng.uniform(corners[0, 0] - width * 0.6, corners[1, 0] - width * 0.4)
    y = corners[1, 1] - height * rng.uniform(0.4, 1.0)
    box = _points([(x, y), (x + width, y + height * 2)])
    cv2.rectangle(mask, box[0].tolist(), box[1].tolist(), 255, -1)
    ((x0, y0), (x1, y1)) = np.maximum(box, 0)
    _paint_surface(rng, colour[y0 : y1 + 1, x0 : x1 + 1])
    stamp(canvas, mask, colour, depth)


def _paint_surface(rng: Generator, region: Array) -> None:
    """A plain or patterned surface with a lighter upper edge."""
    if not region.size:
        return
    cloth = sample_cloth(rng, 0.5)
    rows, columns = (np.arange(n) // 2 % 32 for n in region.shape[:2])
    region[:] = np.clip(cloth.colour + (cloth.second - cloth.colour) * cloth.tile[rows][:, columns, None], 0, 255)
    region[:3] = np.clip(cloth.colour * 1.25, 0, 255)


def _occlude_with_pole(rng: Generator, canvas: Canvas, corners: Array, depth: float) -> None:
    """One or two upright or slanted poles, a rope or a rail."""
    mask = np.zeros(canvas.tag.shape, np.uint8)
    h, w = canvas.tag.shape
    extent = corners[1] - corners[0]
    start = corners[0] + extent * rng.uniform(0.05, 0.95, 2)
    direction = np.array((rng.normal(0, 0.15), 1.0)) if rng.random() < 0.6 else np.array((1.0, rng.normal(0, 0.2)))
    thick = max(2, int(extent.max() * rng.uniform(0.015, 0.06)))
    ends = _points([start - direction * (w + h), start + direction * (w + h)])
    cv2.line(mask, ends[0].tolist(), ends[1].tolist(), 255, thick)
    stamp(canvas, mask, sample_colour(rng), depth)


def _occlude_with_leaves(rng: Generator, canvas: Canvas, corners: Array, depth: float) -> None:
    mask, colour = np.zeros(canvas.tag.shape, np.uint8), canvas.colour.copy()
    middle = corners[0] + (corners[1] - corners[0]) * rng.uniform((-0.1, 0.3), (1.1, 1.1))
    reach = float((corners[1] - corners[0]).max() * rng.uniform(0.09, 0.18))
    draw_leaves(rng, colour, middle, reach, int(rng.integers(10, 26)), mask)
    stamp(canvas, mask, colour, depth)


def _occlude_with_ball(rng: Generator, canvas: Canvas, corners: Array, depth: float) -> None:
    mask = np.zeros(canvas.tag.shape, np.uint8)
    middle = corners[0] + (corners[1] - corners[0]) * rng.uniform(0, 1, 2)
    radius = int((corners[1] - corners[0]).max() * rng.uniform(0.03, 0.08)) + 1
    cv2.circle(mask, _points(middle).tolist(), radius, 255, -1)
    stamp(canvas, mask, sample_colour(rng), depth)


_OCCLUDERS = (_occlude_with_box, _occlude_with_pole, _occlude_with_leaves, _occlude_with_ball)


# --- the photograph -------------------------------------------------------------------------------------------------


def _photograph(rng: Generator, colour: Array, size: tuple[int, int]) -> Array:
    """Down to pixels, then blur, light, colour cast and noise."""
    picture: Any = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.35:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.0)))
    gain = rng.uniform(0.72, 1.25) * rng.uniform(0.92, 1.08, 3)
    offset = rng.uniform(-22, 22) + rng.uniform(-6, 6, 3)
    if rng.random() < 0.04:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(0, 7))
    lit = picture * gain.astype(np.float32) + offset.astype(np.float32) + noise
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


# --- files ----------------------------------------------------------------------------------------------------------

_HEADER = b'MATLAB 5.0 MAT-file, poseplug synthetic LSP'.ljust(116)  # without the date that scipy writes


def lsp_scene(seed: int, index: int) -> tuple[Scene, int]:
    """Picture `index` (from 0) of `write_lsp`, and the quality of its JPEG."""
    rng = np.random.default_rng((seed, index))
    people = int(rng.choice((1, 2, 3), p=(0.75, 0.2, 0.05)))
    return render_scene(rng, people=people), int(rng.integers(80, 96))


def coco_scene(seed: int, split: int, index: int) -> tuple[Scene, int]:
    """Picture `index` (from 0) of split 0 (train) or 1 (val) of `write_coco`, and the quality of its JPEG."""
    rng = np.random.default_rng((seed, index, split + 1))
    people = int(rng.choice(6, p=(0.25, 0.25, 0.2, 0.14, 0.1, 0.06))) + 1
    return render_scene(rng, people=people, layout='group'), int(rng.integers(80, 96))


def write_lsp(
    root: Path,
    count: int = 800,
    train: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    workers: int = 0,
) -> Path:
    """Write `images/im0001.jpg` ... and `joints.mat` as Leeds Sports Pose lays them out.

    `joints` is (3, 14, count): x, y counted from 1, and 1 where a joint is occluded. The first `train` pictures (half,
    unless given) are for training; `dataset.json` says so. A folder that was written with the same settings is left as
    it is, one with others is replaced, and a folder of anybody else's is an `AnnotationError`.
    """
    root, train = Path(root), count // 2 if train is None else train
    if not 0 <= train <= count or count < 1:
        raise AnnotationError(f'{root}: {train} training pictures of {count} were asked for; give 0 <= train <= count')
    about = {'name': 'synthetic_lsp', 'generator': VERSION, 'seed': seed, 'count': count, 'train': train}
    if _is_written(root, about, {'images', 'joints.mat'}):
        return root
    with _replacing(root) as folder:
        (folder / 'images').mkdir()
        joints = np.zeros((3, 14, count))
        drawn = _mapped(partial(_encode_lsp, seed), count, progress, workers, 'drawing people')
        for index, (jpeg, rows) in enumerate(drawn):
            (folder / 'images' / f'im{index + 1:04d}.jpg').write_bytes(jpeg)
            joints[..., index] = rows
        (folder / 'joints.mat').write_bytes(_mat(joints))
        (folder / 'dataset.json').write_text(json.dumps(about, indent=1) + '\n', encoding='utf-8')
    return root


def _encode_lsp(seed: int, index: int) -> tuple[bytes, Array]:
    """The JPEG and the rows (3, 14) of one picture."""
    scene, quality = lsp_scene(seed, index)
    main = scene.people[0]
    return _jpeg(scene.image, quality), np.vstack((main.joints.T + 1, main.occluded[None]))


def _jpeg(image: Array, quality: int) -> bytes:
    _, data = cv2.imencode('.jpg', image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return bytes(data)


def _mat(joints: Array) -> bytes:
    """The bytes of a .mat file, the same for the same joints."""
    from scipy.io import savemat

    stream = io.BytesIO()
    savemat(stream, {'joints': joints})
    return _HEADER + stream.getvalue()[len(_HEADER) :]


def write_coco(
    root: Path,
    train: int,
    val: int,
    seed: int = 0,
    progress: Progress | None = None,
    workers: int = 0,
) -> Path:
    """Write `train2017/`, `val2017/` and `annotations/person_keypoints_{train,val}2017.json` as COCO lays them out.

    One to six people a picture; coordinates count from 0 and visibility is 0 outside the picture, 1 occluded, 2 seen.
    Existing folders meet the same rule as in `write_lsp`.
    """
    root = Path(root)
    if train < 0 or val < 0 or train + val < 1:
        raise AnnotationError(f'{root}: {train} + {val} pictures were asked for; give train and val, one at least')
    about = {'name': 'synthetic_coco', 'generator': VERSION, 'seed': seed, 'train': train, 'val': val}
    if _is_written(root, about, {'train2017', 'val2017', 'annotations'}):
        return root
    with _replacing(root) as folder:
        (folder / 'annotations').mkdir()
        for split, (name, count) in enumerate((('train2017', train), ('val2017', val))):
            (folder / name).mkdir()
            drawn = _mapped(partial(_encode_coco, seed, split), count, progress, workers, f'drawing {name}')
            text = json.dumps(_write_coco_split(folder / name, drawn, first=1 + split * train))
            (folder / 'annotations' / f'person_keypoints_{name}.json').write_text(text, encoding='utf-8')
        (folder / 'dataset.json').write_text(json.dumps(about, indent=1) + '\n', encoding='utf-8')
    return root


def _write_coco_split(folder: Path, drawn: Iterable[tuple[bytes, Array, list[Any]]], first: int) -> dict[str, Any]:
    """Write the pictures of a split and return its annotations; picture ids start at `first`."""
    images, annotations = [], []
    for number, (jpeg, size, people) in enumerate(drawn, start=first):
        name = f'{number:012d}.jpg'
        (folder / name).write_bytes(jpeg)
        images.append({'id': number, 'file_name': name, 'width': int(size[0]), 'height': int(size[1])})
        annotations += [{'id': number * 10 + i, 'image_id': number, **person} for i, person in enumerate(people)]
    category = {
        'id': 1,
        'name': 'person',
        'supercategory': 'person',
        'keypoints': list(COCO_JOINTS),
        'skeleton': [list(limb) for limb in COCO_LIMBS],
    }
    info = {'description': 'poseplug synthetic COCO', 'version': str(VERSION)}
    return {
        'info': info, 'licenses': [], 'images': images, 'annotations': annotations, 'categories': [category],
    }  # fmt: skip


def _encode_coco(seed: int, split: int, index: int) -> tuple[bytes, Array, list[dict[str, Any]]]:
    """The JPEG, the (width, height) and the annotations of one picture."""
    scene, quality = coco_scene(seed, split, index)
    h, w = scene.owner.shape
    people = [_coco_person(scene, number) for number, person in enumerate(scene.people) if person.area >= SMALLEST]
    return _jpeg(scene.image, quality), np.array((w, h)), people


SMALLEST = 32  # visible pixels of a person that is annotated


def _coco_person(scene: Scene, number: int) -> dict[str, Any]:
    person = scene.people[number]
    h, w = scene.owner.shape
    x, y = person.coco.T.round(2)
    inside = (x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1)
    flags = np.where(inside, np.where(person.coco_occluded, 1, 2), 0)
    keypoints = np.stack((x * inside, y * inside, flags), 1).ravel()
    contours, _ = cv2.findContours(
        (scene.owner == number + 1).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return {
        'category_id': 1,
        'iscrowd': 0,
        'bbox': list(person.box),
        'area': float(person.area),
        'num_keypoints': int(inside.sum()),
        'keypoints': [int(k) if k == int(k) else float(k) for k in keypoints],
        'segmentation': [contour.ravel().tolist() for contour in contours if len(contour) > 2],
    }


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _mapped(
    function: Callable[[int], Any], count: int, progress: Progress | None, workers: int, description: str
) -> Iterator[Any]:
    """`function` of 0 ... count - 1 in order, here or by so many processes."""
    watch = progress or (lambda iterable, **_: iterable)
    if workers <= 0 or count == 0:
        yield from watch(map(function, range(count)), total=count, description=description)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn'), initializer=_one_thread) as pool:
        yield from watch(pool.map(function, range(count), chunksize=8), total=count, description=description)


def _is_written(root: Path, about: dict[str, Any], contents: set[str]) -> bool:
    """Whether `root` already holds exactly this; an error if it holds something that is not ours to replace."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = 'choose another folder, or move this one away'
    if not root.is_dir():
        raise AnnotationError(f'{root}: a file stands where the data set should go; {advice}')
    try:
        found = json.loads((root / 'dataset.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get('name') != about['name']:
        raise AnnotationError(f'{root}: this folder was not written by the generator of {about["name"]}; {advice}')
    strangers = sorted(entry.name for entry in root.iterdir() if entry.name not in contents | {'dataset.json'})
    if found != about and strangers:
        raise AnnotationError(f'{root}: would be replaced, but holds {strangers} of somebody else; {advice}')
    return found == about


@contextmanager
def _replacing(root: Path) -> Iterator[Path]:
    """A folder beside `root` that takes its place once it is whole, and vanishes if it never is."""
    folder = root.with_name(f'.{root.name}.{os.getpid()}.partial')
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
        old = folder.with_suffix('.old')
        if root.exists():
            root.rename(old)
        folder.rename(root)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
