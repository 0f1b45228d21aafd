"""Which categories of a COCO-style file are read, and the skeleton that a category describes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError, ConfigError, compose_message, suggest_closest
from poseplug.core.skeleton import Skeleton
from poseplug.core.skeleton_checks import infer_flip_pairs, normalize_keypoint_name
from poseplug.files.json_file import JsonRows, describe_json_value
from poseplug.files.skeleton_file import is_skeleton_file, read_skeleton_fields
from poseplug.registry.skeletons import get_skeleton

FILE_SKELETON = 'file'  # the setting that takes the skeleton from the annotation file
# Of keypoints whose labeling error was not measured: between COCO's eyes (0.025) and hips (0.107).
DEFAULT_SIGMA = 0.05
_MAX_LISTED_NAMES = 8  # of keypoints in a message
CUSTOM_DATA_HINT = (
    "For a category and keypoints of your own set category='NAME' and skeleton='file', or a skeleton's name"
)


@dataclass(frozen=True)
class SelectedCategories:
    """The categories that are read.

    Attributes:
        ids: of the categories; None: the file has no categories, and every annotation is read.
        column_order: (K,) for each keypoint of the skeleton the index of the same one in the file.
        num_columns: number of keypoints of an annotation in the file.
        part_sizes: number of keypoints in further lists of an annotation, by key.
    """

    ids: tuple[int, ...] | None
    column_order: np.ndarray
    num_columns: int
    part_sizes: Mapping[str, int] = field(default_factory=dict)


def load_skeleton_spec(spec: Any, folder: Path) -> Skeleton:
    """Load the skeleton of a setting: a registered name, the fields, or a JSON or YAML file of these.

    Args:
        spec: the setting.
        folder: that relative names of files start from.

    Raises:
        ConfigError: there is no such skeleton, or its file cannot be read.
    """
    return get_skeleton(read_skeleton_fields(spec, folder) if is_skeleton_file(spec) else spec)


def select_categories(
    file: Path, content: Any, chosen: str | Sequence[str] | None, require_keypoints: bool = False
) -> list[dict[str, Any]]:
    """Select categories of a file by name.

    Args:
        file: the annotation file, for error messages.
        content: the value of `categories`.
        chosen: a name or several, compared without case, blanks and hyphens; None for the only category that names
            keypoints, or all that name the same ones.
        require_keypoints: whether `chosen=None` leaves out categories that name no keypoints.

    Raises:
        AnnotationError: a category is not in the file, or the choice is left to the caller.
    """
    rows = JsonRows.from_list(file, content, 'category')
    names = [str(item.get('name')) for item in rows.items]
    if chosen is None:
        candidates = [item for item in rows.items if item.get('keypoints')] if require_keypoints else list(rows.items)
        # A file whose categories name no keypoints at all may still have them, in the order of the skeleton.
        candidates = candidates or list(rows.items)
        # As text, since lists cannot be in a set; the order is read by name, where the skeleton is known.
        names_of = (item.get('keypoints') for item in candidates)
        distinct = {json.dumps(list(map(normalize_keypoint_name, unwrap_names(each))) or each) for each in names_of}
        if len(distinct) > 1:
            counts = [(item.get('name'), len(unwrap_names(item.get('keypoints')))) for item in candidates]
            listed = ', '.join(f'{name!r} ({count})' for name, count in counts)
            raise AnnotationError(
                f'{file}: its categories have keypoints of their own: {listed}. Set category= to those to read'
            )
        return candidates
    selected = []
    for name in [chosen] if isinstance(chosen, str) else chosen:
        matches = [
            item for item, n in zip(rows.items, names, strict=True)
            if normalize_keypoint_name(n) == normalize_keypoint_name(str(name))
        ]  # fmt: skip
        if not matches:
            hint = suggest_closest(str(name), names)
            hint = f'{hint}. {CUSTOM_DATA_HINT}' if hint else CUSTOM_DATA_HINT
            raise AnnotationError(f'{file}: no category is {name!r}; it has {describe_json_value(names)}. {hint}')
        selected += matches
    return selected


def describe_skeleton_of_category(file: Path, category: Mapping[str, Any]) -> tuple[Skeleton, list[str]]:
    """Build the skeleton that a category of a file describes.

    Flip pairs are those of `flip_indices`, which converted labels have, or follow from left and right in the names.
    Limbs are pairs of numbers that count from 1, as in COCO; from 0 where a 0 is among them. Without sigmas each is
    `DEFAULT_SIGMA`.

    Args:
        file: the annotation file, for error messages.
        category: an entry of `categories`.

    Returns:
        The skeleton, and a line on each of its fields: where it comes from.

    Raises:
        AnnotationError: the category names no keypoints, or its limbs are no pairs of them.
    """
    title = str(category.get('name'))
    names = unwrap_names(category.get('keypoints'))
    if not names:
        raise AnnotationError(
            f'{file}: category {title!r} names no keypoints; set skeleton= to a registered skeleton, a file or fields'
        )
    limbs, limb_note = _read_limbs(file, title, category.get('skeleton'), names)
    sigmas = category.get('sigmas')
    flip_pairs, origin = _read_flip_pairs(file, title, category.get('flip_indices'), names)
    fields = dict(name=title, keypoints=names, limbs=limbs, flip_pairs=flip_pairs)
    fields['sigmas'] = sigmas or [DEFAULT_SIGMA] * len(names)
    try:
        skeleton = get_skeleton(fields)
    except ConfigError as error:
        raise AnnotationError(f'{file}: category {title!r}: {error}') from error
    pairs = ', '.join(f'{a} - {b}' for a, b in skeleton.flip_pairs) or 'none'
    listed = ', '.join(names[:_MAX_LISTED_NAMES]) + (', ...' if len(names) > _MAX_LISTED_NAMES else '')
    lines = [
        f'skeleton {title!r} from the file: {len(names)} keypoints {listed}',
        limb_note,
        f'flip pairs from the {origin}: {pairs}',
        'sigmas from the file' if sigmas else f'no sigmas: {DEFAULT_SIGMA} for each keypoint',
    ]
    return skeleton, lines


def _read_flip_pairs(file: Path, title: str, indices: Any, names: list[str]) -> tuple[list[tuple[str, str]], str]:
    """The flip pairs of a category, and where they are from."""
    if indices is None:
        return list(infer_flip_pairs(names)), 'names'
    is_list = isinstance(indices, list) and all(type(i) is int for i in indices)
    is_order = is_list and sorted(indices) == list(range(len(names)))
    if not is_order or any(indices[indices[i]] != i for i in range(len(names))):
        raise AnnotationError(
            f'{file}: category {title!r}: flip_indices exchange its {len(names)} keypoints in pairs; found {indices!r}'
        )
    return [(names[i], names[j]) for i, j in enumerate(indices) if i < j], 'file'


def unwrap_names(value: Any) -> list[str]:
    """Return a list of names, also where it is the only entry of another list; empty if it is none."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    is_named = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return list(value) if is_named else []


def _read_limbs(file: Path, title: str, value: Any, names: list[str]) -> tuple[list[tuple[str, str]], str]:
    """The limbs of a category as pairs of names, and a line on them."""
    pairs = value or []
    is_table = isinstance(pairs, list) and all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs)
    numbers = [n for pair in pairs for n in pair] if is_table else [None]
    if not is_table or not all(type(n) is int or n in names for n in numbers):
        raise AnnotationError(
            f'{file}: category {title!r}: skeleton is a list of pairs of keypoints; found {describe_json_value(value)}'
        )
    indices = [n for n in numbers if type(n) is int]
    # COCO counts from 1. Only a 0 shows the other origin: a file that counts from 0 and uses no 0 cannot be told apart.
    first = 0 if 0 in indices else 1
    if indices and not (first <= min(indices) and max(indices) < len(names) + first):
        raise AnnotationError(
            f'{file}: category {title!r}: skeleton has pairs of {first} to {len(names) + first - 1}; found '
            f'{min(indices)} to {max(indices)}. Correct the file, or set skeleton='
        )
    named = [[names[n - first] if type(n) is int else n for n in pair] for pair in pairs]
    limbs = [(start, end) for start, end in named]
    # Exporters draw a limb in both directions, or repeat it; each would get a field of its own.
    unique = list({frozenset(limb): limb for limb in limbs if limb[0] != limb[1]}.values())
    note = f'{len(unique)} limbs' + (f', whose numbers count from {first}' if indices else '')
    if len(unique) < len(limbs):
        note += f'; {len(limbs) - len(unique)} repeated ones or of one keypoint left out'
    return unique, note


def match_keypoints(
    file: Path,
    category: Mapping[str, Any],
    keypoints: Sequence[str],
    other_names: Mapping[str, str],
    num_columns: int | None,
) -> tuple[np.ndarray, int, list[str]]:
    """Match the keypoints that a category names with those of a skeleton.

    Args:
        file: the annotation file, for error messages.
        category: an entry of `categories`.
        keypoints: names of the skeleton's keypoints in that list.
        other_names: names in the skeleton of keypoints that files call otherwise.
        num_columns: number of keypoints that annotations have; None if unknown.

    Returns:
        (K,) the index in the file of each keypoint, the number of keypoints in the file, and notes.

    Raises:
        AnnotationError: the file lacks keypoints of the skeleton, or has others.
    """
    title, count = str(category.get('name')), len(keypoints)
    in_order = np.arange(count)
    stated = category.get('keypoints')
    names = unwrap_names(stated)
    if not names:
        if stated:
            raise AnnotationError(
                f'{file}: category {title!r}: keypoints is a list of names; found {describe_json_value(stated)}'
            )
        note = f'category {title!r} names no keypoints: they are taken for {keypoints[0]}, ... in order'
        return in_order, count, [note]
    if num_columns == count and len(names) > count:
        names = names[:count]  # of a file with two lists of keypoints, of which the first is the beginning of the other
    # By name, whatever the order: files of one set differ in it between their releases.
    translated = [normalize_keypoint_name(other_names.get(name, name)) for name in names]
    expected = [normalize_keypoint_name(name) for name in keypoints]
    missing = [name for name, n in zip(keypoints, expected, strict=True) if n not in translated]
    unknown = [name for name, n in zip(names, translated, strict=True) if n not in expected]
    if missing or unknown or len(translated) != len(set(translated)):
        lacking = f'it lacks {", ".join(missing[:_MAX_LISTED_NAMES])}' if missing else ''
        others = f'it has beside them {", ".join(unknown[:_MAX_LISTED_NAMES])}' if unknown else ''
        difference = compose_message(lacking, others) or 'it names one twice'
        raise AnnotationError(
            f'{file}: category {title!r}: keypoints is the {count} keypoints {", ".join(keypoints)}; '
            f'{difference}. {CUSTOM_DATA_HINT}'
        )
    order = np.array([translated.index(name) for name in expected])
    if (order == in_order).all():
        return order, count, []
    k = int(np.argmax(order != in_order))
    return (
        order,
        count,
        [
            f'keypoints of category {title!r} stand in another order (keypoint {k + 1} is {names[k]}, not '
            f'{keypoints[k]}): read by name'
        ],
    )
