"""Which keypoints of a rendered person are occluded, read from the buffers they were drawn into."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseplug.data.synthetic.body import ALL_KEYPOINTS
from poseplug.data.synthetic.rendering import SUPERSAMPLING, RenderBuffers
from poseplug.data.synthetic.solids import PART_TAGS, TAGS_PER_PERSON

_Array = NDArray[Any]

# A keypoint lies inside the body: so many meters of these parts of its own side may lie over it
_LIMB_COVER = {
    'ankle': (0.095, ('shin', 'foot')),
    'knee': (0.115, ('thigh', 'shin')),
    'hip': (0.25, ('thigh',)),
    'wrist': (0.075, ('forearm', 'hand')),
    'elbow': (0.1, ('upper_arm', 'forearm')),
    'shoulder': (0.24, ('upper_arm',)),
}
_SHARED_COVER: dict[str, tuple[str, ...]] = {
    'hip': ('pelvis', 'skirt', 'left_thigh', 'right_thigh'),
    'knee': ('skirt',),
    'shoulder': ('chest',),
}
_NECK_COVER = (0.24, ('neck', 'chest', 'head', 'left_upper_arm', 'right_upper_arm'))
_HEAD_TOP_COVER_M = 0.2
_FACE_COVER_M = 0.045


def _find_cover_parts(keypoint: str) -> tuple[float, tuple[str, ...]]:
    """How many meters of its own body may lie over a visible keypoint, and the parts of the body that may."""
    side, _, name = keypoint.partition('_')
    if name in _LIMB_COVER:
        thickness, parts = _LIMB_COVER[name]
        return thickness, (*(f'{side}_{part}' for part in parts), *_SHARED_COVER.get(name, ()))
    if keypoint == 'neck':
        return _NECK_COVER
    return (_HEAD_TOP_COVER_M if keypoint == 'head_top' else _FACE_COVER_M), ('head',)


def _build_cover(keypoint: str) -> tuple[float, _Array]:
    """The thickness in meters and a mask (TAGS_PER_PERSON,) of the tags that may cover a keypoint."""
    thickness, parts = _find_cover_parts(keypoint)
    return thickness, np.isin(np.arange(TAGS_PER_PERSON), [PART_TAGS[part] for part in parts])


_KEYPOINT_COVER = {keypoint: _build_cover(keypoint) for keypoint in ALL_KEYPOINTS}


def is_occluded(buffers: RenderBuffers, keypoint: str, pixel: _Array, depth: float, person_index: int) -> bool:
    """Check whether a keypoint is occluded or lies outside the image.

    It is visible if at least half of the cells around it show the parts of its own body that surround it, no farther
    in front of it than these are thick.

    Args:
        buffers: The finished drawing.
        keypoint: A name of `ALL_KEYPOINTS`.
        pixel: (2,) its position.
        depth: Its depth in the scene in meters.
        person_index: Whose keypoint it is.
    """
    column, row = np.rint((pixel + 0.5) * SUPERSAMPLING - 0.5).astype(int)
    rows, columns = buffers.tags.shape
    if not (0 <= row < rows and 0 <= column < columns):
        return True
    # 3 x 3 cells: a single cell may show a gap between two solids.
    window = slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2)
    thickness, may_cover = _KEYPOINT_COVER[keypoint]
    tags = buffers.tags[window]
    is_cover = (tags // TAGS_PER_PERSON == person_index) & may_cover[tags % TAGS_PER_PERSON]
    is_near = buffers.depth[window] < depth + thickness
    return bool((is_cover & is_near).mean() < 0.5)
