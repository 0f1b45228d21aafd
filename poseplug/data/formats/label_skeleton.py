"""The skeleton that labels of any format describe."""

from __future__ import annotations

__all__ = ['LabelSkeleton', 'build_label_skeleton', 'reorder_skeleton']

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poseplug.core.skeleton import Skeleton
from poseplug.core.skeleton_checks import normalize_keypoint_name
from poseplug.data.sources.coco_categories import describe_skeleton_of_category
from poseplug.registry import SKELETONS
from poseplug.registry.skeletons import get_skeleton

_MAX_LISTED_PAIRS = 8


@dataclass(frozen=True)
class LabelSkeleton:
    """The skeleton of a data set.

    Attributes:
        skeleton: the skeleton.
        registered_name: under which poseplug has it; None for one of the data set's own.
        lines: where its limbs, flip pairs and sigmas come from.
    """

    skeleton: Skeleton
    registered_name: str | None
    lines: list[str]

    def to_fields(self) -> dict[str, Any]:
        """Return the fields that a skeleton file has."""
        skeleton = self.skeleton
        pairs = {key: [list(pair) for pair in getattr(skeleton, key)] for key in ('limbs', 'flip_pairs')}
        return dict(name=skeleton.name, keypoints=list(skeleton.keypoints), **pairs, sigmas=list(skeleton.sigmas or ()))


def build_label_skeleton(file: Path, category: Mapping[str, Any]) -> LabelSkeleton:
    """Build the skeleton of a category.

    Keypoints with the names of a registered skeleton, in any order, are that skeleton, which has measured sigmas.
    Otherwise limbs and sigmas are those of the file, and flip pairs those of the file or of left and right in the
    names.

    Args:
        file: of the labels, for messages.
        category: of COCO's object, with names of its keypoints.

    Raises:
        AnnotationError: the category describes no skeleton.
    """
    registered = _find_registered_skeleton(category['keypoints'], str(category['name']))
    if registered is not None:
        line = f'skeleton: that of {registered.name!r}, by the names: its limbs, flip pairs and sigmas'
        return LabelSkeleton(registered, registered.name, [line])
    skeleton, lines = describe_skeleton_of_category(file, category)
    flip_indices = category.get('flip_indices')
    lines = [line for line in lines[1:] if not line.startswith('flip pairs')]
    origin = 'by left and right in the names'
    if flip_indices is not None:
        names, origin = skeleton.keypoints, 'of the file'
        # Each pair is listed twice, and a keypoint in the middle is its own partner.
        pairs = tuple((names[i], names[j]) for i, j in enumerate(flip_indices) if i < j)
        skeleton = replace(skeleton, flip_pairs=pairs)
    lines.insert(1, _describe_flip_pairs(skeleton, origin))
    return LabelSkeleton(skeleton, None, lines)


def _find_registered_skeleton(keypoints: list[str], title: str) -> Skeleton | None:
    """The registered skeleton with the same names: that of the category's name, else one in the same order."""
    names = [normalize_keypoint_name(name) for name in keypoints]
    matches = []
    for registered in map(get_skeleton, SKELETONS.list_names()):
        others = [normalize_keypoint_name(name) for name in registered.keypoints]
        # Without sigmas nothing is gained over the file's own description.
        if sorted(others) == sorted(names) and registered.sigmas is not None:
            # False sorts before True: the name of the category counts more than the order.
            matches.append(((registered.name != title.lower(), others != names), registered))
    return min(matches, key=lambda match: match[0])[1] if matches else None


def _describe_flip_pairs(skeleton: Skeleton, origin: str) -> str:
    """A line on the flip pairs."""
    if not skeleton.flip_pairs:
        return 'flip pairs: none; images are not flipped in training, since left and right are not known'
    pairs = [f'{a} - {b}' for a, b in skeleton.flip_pairs]
    listed = ', '.join(pairs[:_MAX_LISTED_PAIRS]) + (', ...' if len(pairs) > _MAX_LISTED_PAIRS else '')
    return f'flip pairs {origin}: {listed}'


def reorder_skeleton(skeleton: Skeleton, keypoints: Sequence[str]) -> Skeleton:
    """Return a skeleton with its keypoints in another order and under the names of a file.

    Args:
        skeleton: the skeleton.
        keypoints: the same keypoints, whose names may differ in case, blanks, hyphens and underscores.
    """
    by_name = {normalize_keypoint_name(name): name for name in keypoints}
    names = {name: by_name[normalize_keypoint_name(name)] for name in skeleton.keypoints}
    positions = {new: skeleton.index(old) for old, new in names.items()}
    limbs = tuple((names[a], names[b]) for a, b in skeleton.limbs)
    flip_pairs = tuple((names[a], names[b]) for a, b in skeleton.flip_pairs)
    sigmas = None if skeleton.sigmas is None else tuple(skeleton.sigmas[positions[name]] for name in keypoints)
    return Skeleton(skeleton.name, tuple(keypoints), limbs, flip_pairs, sigmas=sigmas, centric=skeleton.centric)
