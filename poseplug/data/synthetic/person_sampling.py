"""Who is in a scene: bodies with clothes and a place, sampled for one main person or for a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from poseplug.data.synthetic.body import PosedBody, axis_rotation, pose_body, sample_proportions
from poseplug.data.synthetic.clothing import Outfit, sample_outfit
from poseplug.data.synthetic.pose_families import sample_pose
from poseplug.data.synthetic.rendering import CameraView

_Array = NDArray[Any]

_HEAD_RADIUS_M = 0.07  # room around the points of a body


@dataclass(frozen=True)
class PosedPerson:
    """One person who will be drawn: a body, its clothes, and how the camera sees it."""

    body: PosedBody
    outfit: Outfit
    view: CameraView


def camera_rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> _Array:
    """Compute the rotation (3, 3) from the body frame to the view frame.

    Args:
        yaw: Degrees about the person: 0 shows the front, 90 the person's right side, 180 the back.
        pitch: Degrees; positive looks from above.
        roll: Degrees in the image plane.
    """
    # The body frame has y up, the view frame y down.
    flip = np.diag((1.0, -1.0, 1.0))
    return np.asarray(flip @ axis_rotation('z', roll) @ axis_rotation('x', pitch) @ axis_rotation('y', yaw))


def _sample_camera(rng: Generator, body_roll: float) -> _Array:
    """A rotation (3, 3) from the body frame to the view frame: mostly the front, often a side or the back."""
    yaw = float(rng.normal(0, 35) if rng.random() < 0.65 else rng.uniform(-180, 180))
    if rng.random() < 0.1:
        yaw = float(rng.choice((-90, 90)) + rng.normal(0, 12))
    pitch, roll = float(rng.normal(5, 8)), float(rng.normal(0, 5)) + body_roll
    return camera_rotation(yaw, pitch, roll)


def compute_body_corners(body: PosedBody, view: CameraView) -> _Array:
    """Compute the corners (2, 2) in pixels of what a body covers, a head's radius around its points."""
    points = np.stack(list(body.points.values()))
    pixels, px_per_m, _ = view.project_points(points @ view.body_to_view.T)
    margin = _HEAD_RADIUS_M * px_per_m[:, None]
    return np.stack(((pixels - margin).min(0), (pixels + margin).max(0)))


def _sample_body(rng: Generator) -> tuple[PosedBody, CameraView]:
    """A body in a pose, seen with the hips at pixel (0, 0) and one pixel in a meter."""
    proportions = sample_proportions(rng)
    pose = sample_pose(rng)
    body = pose_body(proportions, pose)
    body_to_view = _sample_camera(rng, pose.body_roll)
    return body, CameraView(body_to_view, np.zeros(2), 1.0, float(rng.uniform(3.5, 9.0)), 0.0)


def _rescale_view(view: CameraView, scale: float, origin: _Array, depth_offset: float) -> CameraView:
    return CameraView(view.body_to_view, np.asarray(origin), scale, view.distance, depth_offset)


def sample_main_person(rng: Generator, image_size: tuple[int, int] | None) -> tuple[PosedPerson, tuple[int, int]]:
    """Sample the main person of an image, near its middle and entirely inside it.

    Args:
        rng: Source of everything random.
        image_size: (width, height) in pixels; None fits it to the person, with people as large as in Leeds Sports
            Pose.

    Returns:
        The person, and the size of the image.
    """
    body, view = _sample_body(rng)
    corners = compute_body_corners(body, view)
    extent = corners[1] - corners[0]
    # a crouching person is drawn smaller than a standing one: no extent counts as less than 1.4 m
    scale = float(rng.uniform(118, 175)) / max(float(extent.max()), 1.4)
    room = rng.uniform(1.05, 1.5, 2)
    if image_size is None:
        w, h = np.clip(np.rint(extent * scale * room + 8), 110, 210).astype(int)
        image_size = int(w), int(h)
    else:
        scale = float((np.array(image_size) / (extent * room)).min())
    scale = min(scale, float(((np.array(image_size) - 4) / extent).min()))
    # What the person leaves free is divided at random, but never by more than 85 to 15.
    slack = np.array(image_size) - extent * scale
    corner = slack * (0.5 + rng.uniform(-0.35, 0.35, 2))
    outfit = sample_outfit(rng)
    return PosedPerson(body, outfit, _rescale_view(view, scale, corner - corners[0] * scale, 0.0)), image_size


def sample_extra_person(
    rng: Generator, image_size: tuple[int, int], main_view: CameraView, in_front: bool
) -> PosedPerson:
    """Sample a further person: behind the main person, or in front at the left or right edge of the image.

    Args:
        rng: Source of everything random.
        image_size: (width, height) in pixels.
        main_view: How the camera sees the main person.
        in_front: Whether the person is nearer than the main person.
    """
    body, view = _sample_body(rng)
    width, height = np.array(image_size)
    if in_front:
        scale, depth = main_view.scale * float(rng.uniform(1.0, 1.25)), float(rng.uniform(0.8, 1.5))
        left, right = rng.uniform(-0.12, 0.06), rng.uniform(0.94, 1.12)
        x = width * float(rng.choice((left, right)))
    else:
        ratio = float(rng.uniform(0.5, 1.0))
        # Smaller people stand farther away: depth follows from the size, so that occlusion agrees with perspective.
        scale, depth = main_view.scale * ratio, -0.9 - 3 * (1 - ratio) - float(rng.uniform(0, 0.4))
        x = width * float(rng.uniform(-0.05, 1.05))
    y = main_view.origin[1] + (scale - main_view.scale) * 0.5 + rng.normal(0, 0.06) * height
    outfit = sample_outfit(rng)
    return PosedPerson(body, outfit, _rescale_view(view, scale, np.array((x, y)), depth))


def sample_group(rng: Generator, image_size: tuple[int, int], num_persons: int) -> list[PosedPerson]:
    """Sample several people side by side at several distances; the nearer, the larger and the lower in the image.

    Args:
        rng: Source of everything random.
        image_size: (width, height) in pixels.
        num_persons: Number of people.

    Returns:
        The people from the nearest to the farthest.
    """
    w, h = image_size
    ratios = np.sort(rng.uniform(0.45, 0.85, num_persons) * rng.uniform(0.75, 1.0))[::-1]
    slots = rng.permutation(num_persons)
    persons = []
    for ratio, slot in zip(ratios, slots, strict=True):
        body, view = _sample_body(rng)
        corners = compute_body_corners(body, view)
        scale = float(ratio * h / max(float((corners[1] - corners[0]).max()), 1.3))
        x = (slot + 0.5 + rng.uniform(-0.45, 0.45)) / num_persons * w
        foot_y = h * (0.55 + 0.5 * ratio + rng.normal(0, 0.03))
        origin = np.array((x - corners[:, 0].mean() * scale, foot_y - corners[1, 1] * scale))
        depth = 6 * float(ratio) + float(rng.uniform(0, 0.3))
        persons.append(PosedPerson(body, sample_outfit(rng), _rescale_view(view, scale, origin, depth)))
    return persons
