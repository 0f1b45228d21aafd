"""One rendered image with its annotated people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from poseplug.data.synthetic.background import draw_background, to_cv_points
from poseplug.data.synthetic.body import ALL_KEYPOINTS, COCO_KEYPOINTS, LSP_KEYPOINTS
from poseplug.data.synthetic.clothing import sample_cloth, sample_skin
from poseplug.data.synthetic.occluders import draw_occluders
from poseplug.data.synthetic.person_sampling import (
    PosedPerson,
    compute_body_corners,
    sample_extra_person,
    sample_group,
    sample_main_person,
)
from poseplug.data.synthetic.rendering import SUPERSAMPLING, CameraView, Light, RenderBuffers, draw_solid
from poseplug.data.synthetic.solids import (
    AXIS_POSITIONS,
    PART_TAGS,
    TAGS_PER_PERSON,
    Solid,
    align_frame,
    build_body_solids,
)
from poseplug.data.synthetic.visibility import is_occluded

_Array = NDArray[Any]

_FAR_DEPTH_M = -100  # depth of the background: behind everything that is drawn
_DISTRACTOR_DEPTH_M = -60.0
_LSP_INDICES = [ALL_KEYPOINTS.index(name) for name in LSP_KEYPOINTS]
_COCO_INDICES = [ALL_KEYPOINTS.index(name) for name in COCO_KEYPOINTS]


@dataclass(frozen=True)
class Person:
    """One rendered person; left is the person's own left.

    Attributes:
        lsp_keypoints: (14, 2) pixels of the image, in the order of `LSP_KEYPOINTS`.
        lsp_occluded: (14,) bool; a keypoint outside the image is occluded, too.
        coco_keypoints: (17, 2) pixels of the image, in the order of `COCO_KEYPOINTS`.
        coco_occluded: (17,) bool.
        box_xywh: The box of the visible pixels; zeros if there are none.
        area: Number of visible pixels.
        pose_family: Name of the pose's family.
    """

    lsp_keypoints: _Array
    lsp_occluded: _Array
    coco_keypoints: _Array
    coco_occluded: _Array
    box_xywh: tuple[float, float, float, float]
    area: int
    pose_family: str


@dataclass(frozen=True)
class Scene:
    """One rendered image.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        persons: The people; the main one, or the nearest of a group, comes first.
        instance_mask: (H, W) int16: 0 for the background, 1 + i for person i, -1 for an object in front.
    """

    image: _Array
    persons: tuple[Person, ...]
    instance_mask: _Array


def render_scene(
    rng: Generator,
    image_size: tuple[int, int] | None = None,
    num_persons: int = 1,
    layout: Literal['portrait', 'group'] = 'portrait',
) -> Scene:
    """Render one image with its annotations.

    Args:
        rng: Source of everything random.
        image_size: (width, height) in pixels. By default it fits the main person, as in Leeds Sports Pose; a group
            gets 200 to 320 by 180 to 260 pixels.
        num_persons: Number of people.
        layout: 'portrait' draws the first person whole and in the middle and the others around; 'group' spreads the
            people over the whole image.

    Example:
        >>> scene = render_scene(np.random.default_rng(0), image_size=(96, 128), num_persons=2)
        >>> scene.image.shape, len(scene.persons), scene.persons[0].coco_keypoints.shape
        ((128, 96, 3), 2, (17, 2))
    """
    persons, (width, height) = _sample_persons(rng, image_size, num_persons, layout)
    light = _sample_light(rng)
    size = width * SUPERSAMPLING, height * SUPERSAMPLING
    background = draw_background(rng, size)
    depth, tags = np.full(size[::-1], _FAR_DEPTH_M, np.float32), np.zeros(size[::-1], np.int16)
    buffers = RenderBuffers(background, depth, tags)
    _draw_distractors(rng, buffers, persons[0].view, light)
    for index, person in enumerate(persons):
        _draw_shadow(rng, buffers, person)
        draw_person(buffers, person, light, index)
    draw_occluders(rng, buffers, persons)
    # Every second cell: tags cannot be averaged as colors are.
    mask = _tags_to_instance_mask(buffers.tags[::SUPERSAMPLING, ::SUPERSAMPLING])
    annotated = tuple(_annotate_person(buffers, mask, person, index) for index, person in enumerate(persons))
    return Scene(_degrade_image(rng, buffers.color, (width, height)), annotated, mask)


def _sample_persons(
    rng: Generator, image_size: tuple[int, int] | None, num_persons: int, layout: str
) -> tuple[list[PosedPerson], tuple[int, int]]:
    """The people of a scene and the size (width, height) of its image."""
    if layout == 'group':
        image_size = image_size or (int(rng.integers(200, 321)), int(rng.integers(180, 261)))
        return sample_group(rng, image_size, num_persons), image_size
    main, image_size = sample_main_person(rng, image_size)
    extras = []
    for _ in range(num_persons - 1):
        in_front = rng.random() < 0.15
        extras.append(sample_extra_person(rng, image_size, main.view, in_front))
    return [main, *extras], image_size


def _sample_light(rng: Generator) -> Light:
    """Light from above and from the viewer's side."""
    direction = rng.normal((0, -0.7, 0.7), (0.7, 0.4, 0.25))
    direction[2] = abs(direction[2]) + 0.1
    direction /= np.linalg.norm(direction)
    return Light(direction.astype(np.float32), float(rng.uniform(0.3, 0.75)), float(rng.uniform(0.45, 0.65)))


# --- drawing ----------------------------------------------------------------------------------------------------------


def draw_person(buffers: RenderBuffers, person: PosedPerson, light: Light, person_index: int) -> None:
    """Draw a dressed person wherever they are nearer than what is drawn there, in place."""
    for solid in build_body_solids(person.body, person.outfit):
        draw_solid(buffers, solid, person.view, light, TAGS_PER_PERSON * person_index + PART_TAGS[solid.part])


def _draw_shadow(rng: Generator, buffers: RenderBuffers, person: PosedPerson) -> None:
    """Darken the background under a person's lowest point, in place."""
    cells_per_m = person.view.scale * SUPERSAMPLING
    corners = compute_body_corners(person.body, person.view) * SUPERSAMPLING
    x, y = to_cv_points((corners[:, 0].mean(), corners[1, 1] - 0.05 * cells_per_m)).tolist()
    axes = to_cv_points(((corners[1, 0] - corners[0, 0]) * 0.4, 0.07 * cells_per_m)).tolist()
    brightness = float(rng.uniform(0.35, 1.0))
    x0, y0 = max(x - axes[0] - 2, 0), max(y - axes[1] - 2, 0)
    x1, y1 = max(x + axes[0] + 2, 0), max(y + axes[1] + 2, 0)
    region = buffers.color[y0:y1, x0:x1]
    if not region.size:
        return
    # Only on the ground: a person behind keeps the light.
    mask = np.zeros(region.shape[:2], np.uint8)
    cv2.ellipse(mask, [x - x0, y - y0], axes, 0, 0, 360, 255, -1)
    is_ground = (mask > 0) & (buffers.tags[y0:y1, x0:x1] == 0)
    region[is_ground] = (region[is_ground] * brightness).astype(np.uint8)


def _draw_distractors(rng: Generator, buffers: RenderBuffers, view: CameraView, light: Light) -> None:
    """Draw up to three tubes like limbs, of skin or cloth, that belong to the background."""
    height, width = np.array(buffers.tags.shape) / SUPERSAMPLING
    # So far away that perspective vanishes: its tubes are given in pixels.
    distractor_view = CameraView(np.eye(3), np.zeros(2), view.scale, 1000.0, _DISTRACTOR_DEPTH_M)
    for _ in range(int(rng.integers(0, 4))):
        paint = sample_skin(rng) if rng.random() < 0.5 else sample_cloth(rng)
        start = rng.uniform((0, 0), (width, height)) / view.scale
        ends = np.stack((start, start + rng.normal(0, 0.35, 2)))
        half_widths = rng.uniform(0.025, 0.09) + AXIS_POSITIONS * rng.uniform(-0.02, 0.02)
        ends = np.pad(ends, ((0, 0), (0, 1)))
        frame = align_frame(np.eye(3), ends[0], ends[1])
        solid = Solid('background', ends, frame, half_widths, half_widths, (0.04, 0.04), paint)
        draw_solid(buffers, solid, distractor_view, light, 0)


def _degrade_image(rng: Generator, color: _Array, image_size: tuple[int, int]) -> _Array:
    """Shrink the buffer to pixels, and add what a camera adds: blur, exposure, color cast, noise."""
    image: Any = cv2.resize(color, image_size, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.0)))
    gain = rng.uniform(0.72, 1.25) * rng.uniform(0.92, 1.08, 3)
    offset = rng.uniform(-22, 22) + rng.uniform(-6, 6, 3)
    if rng.random() < 0.04:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, 7))
    exposed = image * gain.astype(np.float32) + offset.astype(np.float32) + noise
    return np.asarray(np.clip(exposed, 0, 255), np.uint8)


# --- annotation -------------------------------------------------------------------------------------------------------


def _tags_to_instance_mask(tags: _Array) -> _Array:
    """Tags of body parts to 1 + the index of the person; 0 and negative tags stay."""
    return np.where(tags > 0, tags // TAGS_PER_PERSON + 1, tags).astype(np.int16)


def _annotate_person(buffers: RenderBuffers, instance_mask: _Array, person: PosedPerson, person_index: int) -> Person:
    """Keypoints, occlusion, box and area of a person, from the finished buffers."""
    points = np.stack([person.body.points[name] for name in ALL_KEYPOINTS])
    # The body's own points, not the drawn ones: labels are exact to fractions of a pixel.
    pixels, _, depths = person.view.project_points(points @ person.view.body_to_view.T)
    keypoints = zip(ALL_KEYPOINTS, pixels, depths, strict=True)
    occluded = np.array([is_occluded(buffers, *keypoint, person_index) for keypoint in keypoints])
    rows, columns = np.nonzero(instance_mask == person_index + 1)
    box = (0.0, 0.0, 0.0, 0.0)
    if len(rows):
        x, y = float(columns.min()), float(rows.min())
        box = (x, y, float(columns.max()) - x + 1, float(rows.max()) - y + 1)
    return Person(
        lsp_keypoints=pixels[_LSP_INDICES],
        lsp_occluded=occluded[_LSP_INDICES],
        coco_keypoints=pixels[_COCO_INDICES],
        coco_occluded=occluded[_COCO_INDICES],
        box_xywh=box,
        area=len(rows),
        pose_family=person.body.pose_family,
    )
