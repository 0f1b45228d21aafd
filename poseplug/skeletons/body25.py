"""BODY_25: COCO's keypoints, neck, center of the hips and feet (Cao et al. 2019, arXiv:1812.08008).

`limbs` have the order of the released fields, `grouping_order` that of the released parser. There are no sigmas, since
the benchmark does not define them for the additional keypoints: OKS is computed with the keypoints of `coco`.
"""

__all__ = ['BODY25']

from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import register_skeleton
from poseplug.skeletons.coco import COCO_PAIRED_PARTS

# right first, as the released channels; the feet alone begin with the left
_SIDES = ('right', 'left')
_FOOT_PARTS = ('big_toe', 'small_toe', 'heel')

_KEYPOINTS = (
    'nose',
    'neck',
    *(f'{side}_{part}' for side in _SIDES for part in ('shoulder', 'elbow', 'wrist')),
    'mid_hip',
    *(f'{side}_{part}' for side in _SIDES for part in ('hip', 'knee', 'ankle')),
    *(f'{side}_{part}' for part in ('eye', 'ear') for side in _SIDES),
    *(f'{side}_{part}' for side in _SIDES[::-1] for part in _FOOT_PARTS),
)
_LIMBS = (
    ('neck', 'mid_hip'),
    ('right_hip', 'right_knee'),
    ('right_knee', 'right_ankle'),
    ('mid_hip', 'right_hip'),
    ('mid_hip', 'left_hip'),
    ('left_hip', 'left_knee'),
    ('left_knee', 'left_ankle'),
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
    *(
        pair
        for side in _SIDES[::-1]
        for pair in (
            (f'{side}_ankle', f'{side}_big_toe'),
            (f'{side}_big_toe', f'{side}_small_toe'),
            (f'{side}_ankle', f'{side}_heel'),
        )
    ),
)
_GROUPING_ORDER = (
    ('neck', 'mid_hip'),
    ('neck', 'right_shoulder'),
    ('neck', 'left_shoulder'),
    ('right_shoulder', 'right_elbow'),
    ('right_elbow', 'right_wrist'),
    ('left_shoulder', 'left_elbow'),
    ('left_elbow', 'left_wrist'),
    ('mid_hip', 'right_hip'),
    ('right_hip', 'right_knee'),
    ('right_knee', 'right_ankle'),
    ('mid_hip', 'left_hip'),
    ('left_hip', 'left_knee'),
    ('left_knee', 'left_ankle'),
    ('neck', 'nose'),
    ('nose', 'right_eye'),
    ('right_eye', 'right_ear'),
    ('nose', 'left_eye'),
    ('left_eye', 'left_ear'),
    ('right_shoulder', 'right_ear'),
    ('left_shoulder', 'left_ear'),
    ('left_ankle', 'left_big_toe'),
    ('left_big_toe', 'left_small_toe'),
    ('left_ankle', 'left_heel'),
    ('right_ankle', 'right_big_toe'),
    ('right_big_toe', 'right_small_toe'),
    ('right_ankle', 'right_heel'),
)
_FLIP_PAIRS = tuple((f'left_{part}', f'right_{part}') for part in (*COCO_PAIRED_PARTS, *_FOOT_PARTS))
# as in `coco18`: the released parser begins no instance with these two
_REDUNDANT_LIMBS = tuple((f'{side}_shoulder', f'{side}_ear') for side in _SIDES)

BODY25 = register_skeleton(
    Skeleton(
        name='body25',
        keypoints=_KEYPOINTS,
        limbs=_LIMBS,
        grouping_order=_GROUPING_ORDER,
        redundant_limbs=_REDUNDANT_LIMBS,
        # COCO labels neither: they are midpoints of labeled pairs, computed where labels are read
        derived_keypoints={'neck': ('right_shoulder', 'left_shoulder'), 'mid_hip': ('right_hip', 'left_hip')},
        flip_pairs=_FLIP_PAIRS,
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'nose'),
    ),
    __name__,
)
