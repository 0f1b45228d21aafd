"""Drawing solids into a depth buffer of twice the size of the image.

The *view* frame has x right, y down and z towards the viewer, so a person who faces the viewer has their left at the
right of the image. Pixels count from 0 and their centers sit on integers. A *cell* of the buffers is half a pixel wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseplug.data.synthetic.clothing import SurfaceSamples
from poseplug.data.synthetic.solids import PROFILE_SAMPLES, Solid

_Array = NDArray[Any]
_Window = tuple[slice, slice]  # rows and columns of cells

SUPERSAMPLING = 2  # cells in a pixel, along each axis: softens every contour
OCCLUDER_TAG = -1


@dataclass(frozen=True)
class RenderBuffers:
    """Buffers of `SUPERSAMPLING` cells in a pixel; drawing changes them in place.

    Attributes:
        color: (h, w, 3) uint8, BGR.
        depth: (h, w) float32, meters towards the viewer.
        tags: (h, w) int16: 0 for the background, `OCCLUDER_TAG`, or `TAGS_PER_PERSON` times the index of the person
            plus the tag of the body part.
    """

    color: _Array
    depth: _Array
    tags: _Array


@dataclass(frozen=True)
class CameraView:
    """The camera's view of a person.

    Attributes:
        body_to_view: (3, 3) rotation from the body frame to the view frame.
        origin: (2,) pixel of the point between the hips.
        scale: Pixels in a meter at the hips.
        distance: Meters from the camera to the hips.
        depth_offset: Meters by which the hips are nearer than the middle of the scene.
    """

    body_to_view: _Array
    origin: _Array
    scale: float
    distance: float
    depth_offset: float

    def project_points(self, points: _Array) -> tuple[_Array, _Array, _Array]:
        """Project points by perspective.

        Args:
            points: (..., 3) meters in the view frame, from the hips.

        Returns:
            Pixels (..., 2), pixels in a meter (...) and depth in the scene (...) in meters.
        """
        # Perspective: what is nearer to the camera than the hips is larger.
        px_per_m = self.scale * self.distance / (self.distance - points[..., 2])
        return self.origin + points[..., :2] * px_per_m[..., None], px_per_m, points[..., 2] + self.depth_offset


@dataclass(frozen=True)
class Light:
    """The light of a scene.

    Attributes:
        direction: (3,) unit vector towards the light in the view frame.
        strength: Brightness that a surface which faces the light gains.
        ambient: Brightness of a surface in the shade.
    """

    direction: _Array
    strength: float
    ambient: float


@dataclass(frozen=True)
class _ProjectedTube:
    """A solid as it lies in the image; arrays of one value per profile sample unless they say otherwise."""

    start: _Array  # (2,) pixel of the axis' first end
    length: float  # pixels
    along: _Array  # (2,) unit vector along the axis
    across: _Array  # (2,) unit vector across it
    px_per_m: float
    cap_lengths_px: _Array  # (2,) pixels that the two ends bulge
    half_width_px: _Array  # pixels from axis to contour
    slant: _Array  # meters of depth from axis to contour
    bulge: _Array  # meters of depth from axis to the viewer's side
    end_depths: _Array  # (2,) meters of depth at the two ends


def _project_solid(solid: Solid, view: CameraView) -> tuple[_ProjectedTube, _Array]:
    """The tube of a solid, and the solid's frame (3, 3) in the view frame."""
    frame = view.body_to_view @ solid.frame
    # Both ends by perspective; between them sizes are interpolated.
    pixels, px_per_m, depth = view.project_points(solid.ends @ view.body_to_view.T)
    axis = pixels[1] - pixels[0]
    length = float(np.hypot(*axis))
    along = axis / length if length > 1e-3 else np.array((0.0, 1.0))
    across = np.array((-along[1], along[0]))
    # the contour of an ellipse: extents of its two half axes across the tube, and in depth
    lateral, lateral_z = solid.half_widths * (frame[:2, 0] @ across), solid.half_widths * frame[2, 0]
    forward, forward_z = solid.half_depths * (frame[:2, 2] @ across), solid.half_depths * frame[2, 2]
    # The small summand keeps a tube that points at the viewer from a width of 0.
    half_width = np.sqrt(lateral**2 + forward**2) + 1e-4
    slant = (lateral * lateral_z + forward * forward_z) / half_width
    end_z = max(solid.cap_lengths) * frame[2, 1]
    bulge = np.sqrt(np.maximum(lateral_z**2 + forward_z**2 + end_z**2 - slant**2, 1e-6))
    end_sizes = np.stack((solid.half_widths[[0, -1]], np.array(solid.cap_lengths), solid.half_depths[[0, -1]]))
    cap_lengths = np.sqrt(((end_sizes.T * (along @ frame[:2])) ** 2).sum(1)) + 1e-4
    px_per_m_along = np.linspace(px_per_m[0], px_per_m[1], PROFILE_SAMPLES)
    tube = _ProjectedTube(
        start=pixels[0],
        length=length,
        along=along,
        across=across,
        px_per_m=float(px_per_m.mean()),
        cap_lengths_px=cap_lengths * px_per_m,
        half_width_px=half_width * px_per_m_along,
        slant=slant,
        bulge=bulge,
        end_depths=depth,
    )
    return tube, frame


def _tube_window(buffers: RenderBuffers, tube: _ProjectedTube) -> _Window | None:
    """The rows and columns of cells that a tube may touch; None if it lies outside the image."""
    end = tube.start + tube.along * tube.length
    margin = max(float(tube.half_width_px.max()), float(tube.cap_lengths_px.max())) + 1
    # A box around the axis, grown by the widest part of the tube.
    low = np.floor((np.minimum(tube.start, end) - margin) * SUPERSAMPLING).astype(int)
    high = np.ceil((np.maximum(tube.start, end) + margin) * SUPERSAMPLING).astype(int)
    (x0, y0), (x1, y1) = np.maximum(low, 0), np.minimum(high, buffers.tags.shape[::-1])
    return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None


@dataclass(frozen=True)
class _TubeCells:
    """Cells of a window on the near side of a tube, arrays of one shape."""

    along_px: _Array  # pixels along the axis, from its first end
    side: _Array  # across, 1 at the contour
    beyond: _Array  # along, 0 between the ends and 1 at the tip of a round end
    rise: _Array  # towards the viewer, 1 above the axis and 0 at the contour
    depth: _Array  # meters
    step: _Array  # index of the profile sample

    def select_cells(self, mask: _Array) -> _TubeCells:
        """The cells (n,) of a mask (h, w)."""
        return _TubeCells(*(values[mask] for values in vars(self).values()))


def _cell_offsets(cells: slice, origin: float) -> _Array:
    """Pixels (n,) from `origin` to the centers of a row or column of cells."""
    # The first cell's center lies a quarter of a pixel before that of the first pixel.
    centers = (np.arange(cells.start, cells.stop) + 0.5) / SUPERSAMPLING - 0.5
    return (centers - origin).astype(np.float32)


def _locate_cells(tube: _ProjectedTube, window: _Window) -> tuple[_TubeCells, _Array]:
    """Where the cells of a window lie on a tube, and which (h, w) of them lie within its contour."""
    rows, columns = window
    x, y = _cell_offsets(columns, tube.start[0]), _cell_offsets(rows, tube.start[1])[:, None]
    axis_x, axis_y = map(np.float32, tube.along)
    along_px = x * axis_x + y * axis_y
    side_px = y * axis_x - x * axis_y
    # The nearest point of the axis; cells beyond an end belong to its round cap.
    on_axis_px = np.clip(along_px, 0, np.float32(tube.length))
    step = (on_axis_px * np.float32((PROFILE_SAMPLES - 1) / max(tube.length, 1e-3))).astype(np.int32)
    side = side_px / tube.half_width_px.astype(np.float32)[step]
    beyond_px = along_px - on_axis_px
    beyond = beyond_px / np.where(beyond_px < 0, *tube.cap_lengths_px.astype(np.float32))
    inside = 1 - side * side - beyond * beyond
    rise = np.sqrt(np.maximum(inside, 0))
    depth_per_px = np.float32((tube.end_depths[1] - tube.end_depths[0]) / max(tube.length, 1e-3))
    lift = tube.slant.astype(np.float32)[step] * side + tube.bulge.astype(np.float32)[step] * rise
    depth = np.float32(tube.end_depths[0]) + depth_per_px * on_axis_px + lift
    return _TubeCells(along_px, side, beyond, rise, depth, step), inside > 0


def draw_solid(buffers: RenderBuffers, solid: Solid, view: CameraView, light: Light, tag: int) -> None:
    """Draw a solid wherever it is nearer than what is drawn there, in place."""
    tube, frame = _project_solid(solid, view)
    window = _tube_window(buffers, tube)
    if window is None:
        return
    cells, mask = _locate_cells(tube, window)
    # The depth buffer decides, cell by cell, so that solids may be drawn in any order.
    mask &= cells.depth > buffers.depth[window]
    if mask.any():
        visible = cells.select_cells(mask)
        buffers.color[window][mask] = _shade_cells(solid, tube, frame, light, visible)
        buffers.depth[window][mask] = visible.depth
        buffers.tags[window][mask] = tag


def _shade_cells(solid: Solid, tube: _ProjectedTube, frame: _Array, light: Light, cells: _TubeCells) -> _Array:
    """Lit colors (n, 3) uint8 of the visible cells of a solid."""
    across_m = cells.side * tube.half_width_px.astype(np.float32)[cells.step] / np.float32(tube.px_per_m)
    along_m = cells.along_px / np.float32(tube.px_per_m)
    offset = np.stack((tube.along, tube.across), 1).astype(np.float32) @ np.stack((along_m, across_m))
    z = cells.depth - np.float32(tube.end_depths[0])
    frame = frame.astype(np.float32)
    local = frame[:2].T @ offset + frame[2][:, None] * z  # lateral, along, forward in meters
    axis_length = np.float32(np.linalg.norm(solid.ends[1] - solid.ends[0]))
    lateral = local[0] / solid.half_widths.astype(np.float32)[cells.step]
    forward = local[2] / solid.half_depths.astype(np.float32)[cells.step]
    colors = solid.paint(SurfaceSamples(local[1] / axis_length, across_m, along_m + 2, lateral, forward))
    light_x, light_y, light_z = light.direction
    side_light, end_light = float(tube.across @ (light_x, light_y)), float(tube.along @ (light_x, light_y))
    facing = cells.side * side_light + cells.beyond * end_light + cells.rise * float(light_z)
    edge = cells.side * cells.side
    # Lambert's law, darkened towards the contour.
    brightness = light.ambient + light.strength * np.maximum(facing, 0) - 0.2 * edge * edge
    return np.clip(colors * brightness[:, None], 0, 255).astype(np.uint8)


def paint_mask(buffers: RenderBuffers, mask: _Array, color: _Array, depth: float, tag: int = OCCLUDER_TAG) -> None:
    """Paint the cells of a mask that lie behind a depth, in place.

    Args:
        buffers: What is painted on.
        mask: (h, w); cells over 0 are painted.
        color: One color (3,) or an image (h, w, 3) of cells.
        depth: Meters towards the viewer; becomes the depth of the painted cells.
        tag: Becomes the tag of the painted cells.
    """
    behind = (mask > 0) & (buffers.depth < depth)
    buffers.color[behind] = color if color.ndim == 1 else color[behind]
    buffers.depth[behind] = depth
    buffers.tags[behind] = tag
