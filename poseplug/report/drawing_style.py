"""How skeletons are drawn: colors, widths, boxes and labels."""

from __future__ import annotations

__all__ = ['SIDE_COLORS', 'Color', 'DrawingStyle', 'Palette', 'keypoint_sides', 'limb_side', 'rainbow_colors']

import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton

Color = tuple[int, int, int]  # BGR

# distinct for color-blind readers, and light enough for dark images
SIDE_COLORS: dict[str, Color] = {'left': (40, 150, 255), 'right': (255, 170, 40), 'middle': (120, 230, 120)}
_COLORINGS = ('sides', 'keypoints', 'instances')
_LABELS = ('id', 'score')


@dataclass(frozen=True)
class DrawingStyle:
    """Colors, widths and labels of drawn skeletons.

    Attributes:
        coloring: 'sides' (left orange, right blue, middle green), 'keypoints' (a hue for each limb and keypoint, as
            OpenPose's drawings) or 'instances' (a hue for each instance, by its id where it has one).
        width_factor: of the widths of limbs and the radii of keypoints.
        draws_boxes: whether boxes are drawn, where there are any.
        labels: what is written above each instance: 'id' and 'score', in this order.

    Raises:
        ConfigError: a value is none of these, or the factor not above 0.

    Example:
        >>> DrawingStyle(coloring='keypoints', width_factor=1.5, labels=('id', 'score')).draws_boxes
        True
    """

    coloring: Literal['sides', 'keypoints', 'instances'] = 'sides'
    width_factor: float = 1.0
    draws_boxes: bool = True
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.coloring not in _COLORINGS:
            raise ConfigError(f'coloring is one of {", ".join(_COLORINGS)}; got {self.coloring!r}')
        if not 0 < self.width_factor < 100:
            raise ConfigError(f'width_factor lies above 0 and below 100; got {self.width_factor!r}')
        if isinstance(self.labels, str) or not set(self.labels) <= set(_LABELS):
            raise ConfigError(f"labels is a tuple of 'id' and 'score'; got {self.labels!r}")


def rainbow_colors(count: int) -> list[tuple[int, int, int]]:
    """Return `count` BGR colors of equal brightness, with hues from red to violet.

    Example:
        >>> rainbow_colors(3)[0]
        (0, 0, 255)
    """
    # up to 0.85 of the circle, where violet ends and red would begin again
    hues = (0.85 * n / max(1, count) for n in range(count))
    colors = (colorsys.hsv_to_rgb(hue, 1.0, 1.0) for hue in hues)
    return [(round(255 * b), round(255 * g), round(255 * r)) for r, g, b in colors]


_INSTANCE_COLORS = rainbow_colors(7)


@dataclass(frozen=True)
class Palette:
    """The colors of keypoints and limbs, BGR.

    Attributes:
        keypoints: K colors.
        limbs: L colors.
    """

    keypoints: Sequence[Color]
    limbs: Sequence[Color]

    @classmethod
    def from_skeleton(cls, skeleton: Skeleton, style: DrawingStyle) -> Palette:
        """Choose the colors of a skeleton."""
        if style.coloring == 'sides':
            sides = keypoint_sides(skeleton)
            limb_sides = (limb_side(sides[a], sides[b]) for a, b in skeleton.limb_indices)
            return cls([SIDE_COLORS[side] for side in sides], [SIDE_COLORS[side] for side in limb_sides])
        return cls(rainbow_colors(len(skeleton)), rainbow_colors(len(skeleton.limb_indices)))

    def paint_instance(self, poses: Poses, index: int) -> Palette:
        """Return a palette in which everything has the color of one instance."""
        number = index if poses.ids is None else int(poses.ids[index])
        color = _INSTANCE_COLORS[number % len(_INSTANCE_COLORS)]
        return Palette([color] * len(self.keypoints), [color] * len(self.limbs))


def keypoint_sides(skeleton: Skeleton) -> list[str]:
    """Find the side of every keypoint: 'left' or 'right' for flip pairs, 'middle' for the others.

    In a pair, the keypoint whose name has 'left' or 'l' as a word is the left one; without such names it is the first.

    Returns:
        (K,) sides in the order of the skeleton.
    """
    sides = ['middle'] * len(skeleton)
    for a, b in skeleton.flip_pairs:
        # names like `l_eye`, `left_eye` and `eye-left`
        first_is_right = _has_side_word(a, 'right') or _has_side_word(b, 'left')
        left, right = (b, a) if first_is_right else (a, b)
        sides[skeleton.index(left)], sides[skeleton.index(right)] = 'left', 'right'
    return sides


def _has_side_word(keypoint: str, side: str) -> bool:
    """Whether a name holds 'left' or 'right', or its first letter, as a separate word."""
    words = re.split(r'[^a-z]+', keypoint.lower())
    return side in words or side[0] in words or keypoint.lower().startswith(side)


def limb_side(a: str, b: str) -> str:
    """Return the side of a limb from the sides of its two ends: a limb across the body is in the middle."""
    if a == b:
        return a
    ends = frozenset((a, b))
    return {frozenset(('left', 'middle')): 'left', frozenset(('right', 'middle')): 'right'}.get(ends, 'middle')
