"""A kinematic body in meters: its proportions, and where its keypoints lie in a pose.

The *body* frame has x to the person's left, y up and z forward, and its origin between the hips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from poseplug.data.synthetic.pose_families import PoseAngles

_Array = NDArray[Any]

LSP_KEYPOINTS = (
    'right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle', 'right_wrist', 'right_elbow',
    'right_shoulder', 'left_shoulder', 'left_elbow', 'left_wrist', 'neck', 'head_top',
)  # fmt: skip
COCO_KEYPOINTS = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder', 'left_elbow',
    'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle',
    'right_ankle',
)  # fmt: skip
ALL_KEYPOINTS = tuple(dict.fromkeys((*LSP_KEYPOINTS, *COCO_KEYPOINTS)))
SIDE_SIGNS = (('left', 1.0), ('right', -1.0))  # by the sign of x in the body frame

_FACE_POINTS = {
    'head_top': (0, 0.215, -0.01),
    'nose': (0, 0.07, 0.098),
    'left_eye': (0.032, 0.1, 0.082),
    'right_eye': (-0.032, 0.1, 0.082),
    'left_ear': (0.074, 0.08, -0.005),
    'right_ear': (-0.074, 0.08, -0.005),
}  # meters from the base of the skull, in the head's frame


@dataclass(frozen=True)
class BodyProportions:
    """Proportions of one person: factors of the average body, except where meters are named.

    Attributes:
        leg: Length of thigh and shin.
        arm: Length of upper arm and forearm.
        spine: Length of the trunk.
        head: Size of the head.
        girth: Depth of the trunk, and part of the width of the limbs.
        muscle: Width of the limbs.
        shoulder_half_width: Meters from the spine to a shoulder.
        hip_half_width: Meters from the spine to a hip.
    """

    leg: float
    arm: float
    spine: float
    head: float
    girth: float
    muscle: float
    shoulder_half_width: float
    hip_half_width: float


@dataclass(frozen=True)
class PosedBody:
    """A body in a pose.

    Attributes:
        points: (3,) meters in the body frame, by name: keypoints, and points that only drawing needs.
        frames: (3, 3) by the name of a body part; columns are left, up and forward.
        proportions: The proportions that the body was posed with.
        pose_family: Name of the pose's family.
    """

    points: dict[str, _Array]
    frames: dict[str, _Array]
    proportions: BodyProportions
    pose_family: str


def sample_proportions(rng: Generator) -> BodyProportions:
    """Sample the proportions of a person, each about the average and within fixed limits."""
    # Drawn first and used last: the order of the draws belongs to the data set, see `_GENERATOR_VERSION`.
    slimness = rng.normal(0, 1)

    def sample_clipped(mean: float, std: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, std), low, high))

    return BodyProportions(
        leg=sample_clipped(1.0, 0.05, 0.88, 1.12),
        arm=sample_clipped(1.0, 0.04, 0.9, 1.1),
        spine=sample_clipped(1.0, 0.04, 0.9, 1.1),
        head=sample_clipped(1.02, 0.06, 0.9, 1.2),
        girth=float(np.clip(1.02 - 0.1 * slimness + rng.normal(0, 0.06), 0.84, 1.35)),
        muscle=sample_clipped(1.02, 0.1, 0.82, 1.25),
        shoulder_half_width=sample_clipped(0.172, 0.012, 0.145, 0.2),
        hip_half_width=sample_clipped(0.095, 0.007, 0.08, 0.115),
    )


def axis_rotation(axis: Literal['x', 'y', 'z'], degrees: float) -> _Array:
    """Compute the right-handed rotation matrix (3, 3) about one axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if axis == 'x':
        return np.array(((1, 0, 0), (0, c, -s), (0, s, c)))
    if axis == 'y':
        return np.array(((c, 0, s), (0, 1, 0), (-s, 0, c)))
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1)))


def _limb_frame(parent: _Array, flexion: float, abduction: float, twist: float, side: float) -> _Array:
    """The frame (3, 3) of a limb that hangs from `parent`; positive angles go forward and outward on either side."""
    outward = axis_rotation('z', side * abduction) @ axis_rotation('y', side * twist)
    return np.asarray(parent @ axis_rotation('x', -flexion) @ outward)


def pose_body(proportions: BodyProportions, pose: PoseAngles) -> PosedBody:
    """Compute where every point of a body lies in a pose, by forward kinematics from between the hips.

    Args:
        proportions: The body.
        pose: Its angles in degrees.

    Returns:
        The body with points in meters of the body frame.
    """
    lean, bend, sideways, twist = pose.trunk
    nod, turn, tilt = pose.head
    pelvis = axis_rotation('x', lean) @ axis_rotation('z', sideways / 2)
    chest = pelvis @ axis_rotation('y', twist) @ axis_rotation('x', bend) @ axis_rotation('z', sideways)
    # The neck takes a part of the head's turn and nod, and leans 8 degrees forward by itself.
    neck = chest @ axis_rotation('y', turn / 3) @ axis_rotation('x', nod / 2 + 8)
    head = chest @ axis_rotation('y', turn) @ axis_rotation('x', nod) @ axis_rotation('z', tilt)
    frames = {'pelvis': pelvis, 'chest': chest, 'neck': neck, 'head': head}
    points = {'pelvis': np.zeros(3)}
    # From the hips upwards, each point by the frame of the part below it.
    points['waist'] = pelvis @ (0, 0.19 * proportions.spine, 0)
    points['neck'] = points['waist'] + chest @ (0, 0.315 * proportions.spine, 0.005)
    points['skull'] = points['neck'] + neck @ (0, 0.075, 0)
    for name, offset in _FACE_POINTS.items():
        points[name] = points['skull'] + head @ (np.array(offset) * proportions.head)
    body = PosedBody(points, frames, proportions, pose.family)
    for side, sign in SIDE_SIGNS:
        _pose_leg(body, pose.limbs[side], lean, side, sign)
        _pose_arm(body, pose.limbs[side], side, sign)
    return body


def _pose_leg(body: PosedBody, angles: _Array, lean: float, side: str, sign: float) -> None:
    """Add the points and frames of one leg to a body."""
    points, frames, length = body.points, body.frames, body.proportions.leg
    flexion, abduction, turn, knee = angles[:4]
    # the hip's flexion counts from the vertical, however far the trunk leans
    thigh = _limb_frame(frames['pelvis'], flexion + lean, abduction, turn, sign)
    shin = thigh @ axis_rotation('x', knee)
    # The sole tends to stay level, within what an ankle can do.
    foot = shin @ axis_rotation('x', float(np.clip(flexion - knee, -18, 38)))
    hip_point = frames['pelvis'] @ (sign * body.proportions.hip_half_width, 0, 0)
    knee_point = hip_point + thigh @ (0, -0.43 * length, 0)
    ankle_point = knee_point + shin @ (0, -0.41 * length, 0)
    points |= {f'{side}_hip': hip_point, f'{side}_knee': knee_point, f'{side}_ankle': ankle_point}
    points[f'{side}_heel'] = ankle_point + foot @ (0, -0.045, -0.035)
    points[f'{side}_toe'] = ankle_point + foot @ (0, -0.06, 0.15)
    frames |= {f'{side}_thigh': thigh, f'{side}_shin': shin, f'{side}_foot': foot}


def _pose_arm(body: PosedBody, angles: _Array, side: str, sign: float) -> None:
    """Add the points and frames of one arm to a body."""
    points, frames, proportions = body.points, body.frames, body.proportions
    flexion, abduction, twist, elbow = angles[4:]
    upper_arm = _limb_frame(frames['chest'], flexion, abduction, twist, sign)
    forearm = upper_arm @ axis_rotation('x', -elbow)
    # a raised arm lifts its shoulder and draws it inward; 0 for a hanging arm, 1.3 straight up
    raised = max(0.0, float(-np.dot(frames['chest'][:, 1], upper_arm[:, 1])) + 0.3)
    shoulder_width = proportions.shoulder_half_width - 0.02 * raised
    shoulder_offset = (sign * shoulder_width, 0.262 * proportions.spine + 0.04 * raised, 0)
    shoulder_point = points['waist'] + frames['chest'] @ shoulder_offset
    elbow_point = shoulder_point + upper_arm @ (0, -0.285 * proportions.arm, 0)
    wrist_point = elbow_point + forearm @ (0, -0.25 * proportions.arm, 0)
    points |= {f'{side}_shoulder': shoulder_point, f'{side}_elbow': elbow_point, f'{side}_wrist': wrist_point}
    points[f'{side}_finger'] = wrist_point + forearm @ (0, -0.145, 0.01)
    frames |= {f'{side}_upper_arm': upper_arm, f'{side}_forearm': forearm}
