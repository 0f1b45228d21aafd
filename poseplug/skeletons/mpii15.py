"""MPII's keypoints as part affinity fields are trained on them: a chest replaces pelvis and thorax (Cao et al. 2017).

The chest is the center between MPII's pelvis and thorax. Limbs are trained and grouped in this order, which is a tree.
"""

__all__ = ['MPII15']

from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import register_skeleton
from poseplug.skeletons.mpii import MPII, MPII_PAIRED_PARTS

_SIDES = ('right', 'left')
# 14 limbs of 15 keypoints: a tree through neck and chest
_LIMBS = (
    ('head_top', 'neck'),
    *(
        pair
        for side in _SIDES
        for pair in (
            ('neck', f'{side}_shoulder'),
            (f'{side}_shoulder', f'{side}_elbow'),
            (f'{side}_elbow', f'{side}_wrist'),
        )
    ),
    ('neck', 'chest'),
    *(
        pair
        for side in _SIDES
        for pair in (
            ('chest', f'{side}_hip'),
            (f'{side}_hip', f'{side}_knee'),
            (f'{side}_knee', f'{side}_ankle'),
        )
    ),
)

_KEYPOINTS = (
    'head_top',
    'neck',
    *(f'{side}_{part}' for side in _SIDES for part in ('shoulder', 'elbow', 'wrist')),
    *(f'{side}_{part}' for side in _SIDES for part in ('hip', 'knee', 'ankle')),
    'chest',
)
_FLIP_PAIRS = tuple((f'left_{part}', f'right_{part}') for part in MPII_PAIRED_PARTS)

MPII15 = register_skeleton(
    Skeleton(
        name='mpii15',
        keypoints=_KEYPOINTS,
        limbs=_LIMBS,
        grouping_order=_LIMBS,
        # MPII has no chest: it is computed where labels are read
        derived_keypoints={'chest': ('pelvis', 'thorax')},
        flip_pairs=_FLIP_PAIRS,
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'head_top'),
        groups=MPII.groups,
    ),
    __name__,
)
