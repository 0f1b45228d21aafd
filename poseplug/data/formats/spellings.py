"""Merges names of keypoints and categories that labelers spelled in several ways: 'Left Paw' and 'left_paw'.

In tools without a fixed list of names each label is typed by hand, and a second spelling would be a second keypoint.
"""

from __future__ import annotations

__all__ = ['merge_spellings']

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from poseplug.core.skeleton_checks import normalize_keypoint_name

_MAX_LISTED = 3  # of the merged names in a note


def merge_spellings(content: dict[str, Any]) -> list[str]:
    """Merge keypoints, and categories of the same keypoints, whose names are equal without case, blanks and hyphens.

    Args:
        content: COCO's object, which is changed. Every category names its keypoints, and every annotation has x, y and
            a flag for each.

    Returns:
        Notes on what was merged. Keypoints that one instance has both of are different ones and stay.
    """
    merged: list[str] = []
    for category in content['categories']:
        annotations = [a for a in content['annotations'] if a['category_id'] == category['id']]
        merged += _merge_keypoints(category, annotations)
    merged += _merge_categories(content)
    if not merged:
        return []
    listed = ', '.join(merged[:_MAX_LISTED]) + (', ...' if len(merged) > _MAX_LISTED else '')
    return [f'{len(merged):,} names are spelled in several ways and were merged: {listed}']


def _merge_keypoints(category: dict[str, Any], annotations: Sequence[dict[str, Any]]) -> list[str]:
    """Merge the keypoints of one category; returns what was merged, as "'Snout' into 'snout'"."""
    names = list(category['keypoints'])
    groups = _group_spellings(names)
    if len(groups) == len(names):
        return []
    tables = np.array([a['keypoints'] for a in annotations], dtype=float).reshape(-1, len(names), 3)
    # Coordinates of keypoints that are not labeled mean nothing, and would be added to those that are.
    tables[tables[..., 2] == 0] = 0
    counts = (tables[..., 2] > 0).sum(axis=0)
    targets, merged = list(range(len(names))), []
    for group in groups:
        # Two labels in one instance are two keypoints, whatever they are called.
        if ((tables[:, group, 2] > 0).sum(axis=1) > 1).any():
            continue
        # The spelling that is used most is the one that was meant.
        target = max(group, key=lambda k: counts[k])
        for k in (k for k in group if k != target):
            targets[k] = target
            merged.append(f'{names[k]!r} into {names[target]!r}')
    positions = sorted(set(targets))
    for annotation, table in zip(annotations, tables, strict=True):
        # All but one of the merged keypoints are zeros, so that their sum is the labeled one.
        sums = np.zeros_like(table)
        np.add.at(sums, targets, table)
        annotation['keypoints'] = sums[positions].ravel().tolist()
    new = [positions.index(target) for target in targets]
    category['keypoints'] = [names[k] for k in positions]
    limbs = [[new[a - 1] + 1, new[b - 1] + 1] for a, b in category.get('skeleton') or []]
    category['skeleton'] = [limb for limb in limbs if limb[0] != limb[1]]
    if 'flip_indices' in category:
        category['flip_indices'] = [new[category['flip_indices'][k]] for k in positions]
    return merged


def _merge_categories(content: dict[str, Any]) -> list[str]:
    """Merge categories of the same keypoints; returns what was merged."""
    categories, merged = content['categories'], []
    counts = Counter(annotation['category_id'] for annotation in content['annotations'])
    new_ids: dict[int, int] = {}
    for group in _group_spellings([str(category['name']) for category in categories]):
        target = categories[max(group, key=lambda i: counts[categories[i]['id']])]
        for other in (categories[i] for i in group if categories[i] is not target):
            if other['keypoints'] == target['keypoints']:
                new_ids[other['id']] = target['id']
                merged.append(f'{other["name"]!r} into {target["name"]!r}')
    if new_ids:
        content['categories'] = [category for category in categories if category['id'] not in new_ids]
        for annotation in content['annotations']:
            annotation['category_id'] = new_ids.get(annotation['category_id'], annotation['category_id'])
    return merged


def _group_spellings(names: Sequence[str]) -> list[list[int]]:
    """The indices of the spellings of each name, in the order of the first ones."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault(normalize_keypoint_name(name), []).append(i)
    return list(groups.values())
