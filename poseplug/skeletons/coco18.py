"""COCO's 17 keypoints and a neck, as part affinity fields are trained on them (Cao et al. 2017, arXiv:1611.08050).

`limbs` have the order of the released fields, `grouping_order` that of the released parser. There are no sigmas, since
the benchmark does not define one for the neck: OKS is computed with the keypoints of `coco`.
"""

__all__ = ['COCO18']

from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import register_skeleton
from poseplug.skeletons.coco import COCO_PAIRED_PARTS

# right first, unlike COCO: the order of the released channels
_SIDES = ('right', 'left')

_KEYPOINTS = (
    'nose',
    'neck',
    *(f'{side}_{part}' for side in _SIDES for part in ('shoulder', 'elbow', 'wrist')),
    *(f'{side}_{part}' for side in _SIDES for part in ('hip', 'knee', 'ankle')),
    *(f'{side}_{part}' for part in ('eye', 'ear') for side in _SIDES),
)
_LIMBS = (
    *(
        pair
        for side in _SIDES
        for pair in (
            ('neck', f'{side}_hip'),
            (f'{side}_hip', f'{side}_knee'),
            (f'{side}_knee', f'{side}_ankle'),
        )
    ),
    *(
        pair
        for side in _SIDES
        for pair in (
            ('neck', f'{side}_shoulder'),
            (f'{side}_shoulder', f'{side}_elbow'),
            (f'{side}_elbow', f'{side}_wrist'),
            (f'{side}_shoulder', f'{side}_ear'),
        )
    ),
    ('neck', 'nose'),
    *(('nose', f'{side}_eye') for side in _SIDES),
    *((f'{side}_eye', f'{side}_ear') for side in _SIDES),
)
_GROUPING_ORDER = (
    ('neck', 'right_shoulder'),
    ('neck', 'left_shoulder'),
    ('right_shoulder', 'right_elbow'),
    ('right_elbow', 'right_wrist'),
    ('left_shoulder', 'left_elbow'),
    ('left_elbow', 'left_wrist'),
    ('neck', 'right_hip'),
    ('right_hip', 'right_knee'),
    ('right_knee', 'right_ankle'),
    ('neck', 'left_hip'),
    ('left_hip', 'left_knee'),
    ('left_knee', 'left_ankle'),
    ('neck', 'nose'),
    ('nose', 'right_eye'),
    ('right_eye', 'right_ear'),
    ('nose', 'left_eye'),
    ('left_eye', 'left_ear'),
    ('right_shoulder', 'right_ear'),
    ('left_shoulder', 'left_ear'),
)
_FLIP_PAIRS = tuple((f'left_{part}', f'right_{part}') for part in COCO_PAIRED_PARTS)
# the released parser skips these two where a new instance would begin
_REDUNDANT_LIMBS = tuple((f'{side}_shoulder', f'{side}_ear') for side in _SIDES)

COCO18 = register_skeleton(
    Skeleton(
        name='coco18',
        keypoints=_KEYPOINTS,
        limbs=_LIMBS,
        grouping_order=_GROUPING_ORDER,
        redundant_limbs=_REDUNDANT_LIMBS,
        # COCO labels no neck: it is the midpoint of the shoulders, computed where labels are read
        derived_keypoints={'neck': ('right_shoulder', 'left_shoulder')},
        flip_pairs=_FLIP_PAIRS,
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'nose'),
    ),
    __name__,
)
