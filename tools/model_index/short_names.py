"""Names that people type, from MMPose's full names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

_SCHEDULE = re.compile(r'[-_]+\d+xb?\d+e?-\d+e')  # graphics cards, batch size and epochs
_SIZE = re.compile(r'[-_](\d+x\d+|416|640)(?=$|-)')
# In this order: a pattern in MMPose's name, and what stands here instead.
_REPLACEMENTS = (
    ('td-hm_ViTPose-([sblh])[a-z]+', r'vitpose-\1'),
    ('td-hm_hourglass52', 'hourglass'),
    (r'td-hm_res(?=\d)', 'simplebaseline-r'),
    (r'td-reg_res(\d+)_rle', r'rle-r\1'),
    ('td-reg_mobilenetv2_rle', 'rle-mobilenetv2'),
    (r'td-reg_res(?=\d)', 'deeppose-r'),
    ('td-hm_|topdown_heatmap_', ''),
    (r'(?<=[cr]_)res(?=\d)', 'r'),
    (r'(cspnext-\w+?)_udp', r'\1'),  # it has no other heatmaps
    ('cspnext-tiny', 'cspnext-t'),
    ('deepfasion2', 'deepfashion2'),
    ('crowpose', 'crowdpose'),
    ('body7-crowdpose', 'body7+crowdpose'),
    ('coco-wholebody|cocktail14', 'wholebody'),
    ('freihand2d', 'freihand'),
    ('rhd2d', 'rhd'),
    ('swin_b_p4_w7_fpn', 'swin-b-fpn'),
    ('-p4-w7', ''),
)
# The data set that a name does not mention: the only one of a family, or the usual one.
_USUAL_DATASETS = (('rtmpose', 'body8'), ('rtmo', 'body7'), ('rtmw', 'wholebody'), ('', 'coco'))


def choose_short_names(full_names: Iterable[str]) -> dict[str, str]:
    """Choose a short name for each full name.

    The schedule is left out, and the usual data set, and the smallest input size of a network on its data set.
    """
    stems: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for full_name in full_names:
        stem, size = _split_size(full_name)
        stems[stem].append((size, full_name))
    names = {}
    for stem, members in stems.items():
        members.sort(key=lambda member: _count_pixels(member[0]))
        for index, (size, full_name) in enumerate(members):
            names[full_name] = f'{stem}-{size}' if index else stem
    return names


def _split_size(full_name: str) -> tuple[str, str]:
    name = _SCHEDULE.sub('_', full_name)
    for old, new in _REPLACEMENTS:
        name = re.sub(old, new, name)
    size = _SIZE.search(name)
    name = re.sub(r'[-_]+', '-', _SIZE.sub('', name)).strip('-').lower()
    dataset = next(dataset for family, dataset in _USUAL_DATASETS if name.startswith(family))
    name = re.sub(f'-{dataset}(?=$|-)', '', name, count=1).replace('+', '-')
    return name, size[1] if size else ''


def _count_pixels(size: str) -> int:
    sides = [int(side) for side in size.split('x') if side]
    return sides[0] * sides[-1] if sides else 0
