"""COCO's 17 joints and a neck, as part affinity fields are trained on them (Cao et al. 2017, arXiv:1611.08050).

`limbs` are in the order of the released fields, `parsing` in that of the released parser. The benchmark knows no neck,
and gives it no constant: people are scored with the joints of `coco`.
"""

from poseplug.skeleton import Skeleton, register_skeleton
from poseplug.skeletons.coco import SIDED

SIDES = ('right', 'left')

COCO18 = register_skeleton(
    Skeleton(
        name='coco18',
        joints=(
            'nose',
            'neck',
            *(f'{side}_{part}' for side in SIDES for part in ('shoulder', 'elbow', 'wrist')),
            *(f'{side}_{part}' for side in SIDES for part in ('hip', 'knee', 'ankle')),
            *(f'{side}_{part}' for part in ('eye', 'ear') for side in SIDES),
        ),
        limbs=(
            *(
                pair
                for side in SIDES
                for pair in (
                    ('neck', f'{side}_hip'),
                    (f'{side}_hip', f'{side}_knee'),
                    (f'{side}_knee', f'{side}_ankle'),
                )
            ),
            *(
                pair
                for side in SIDES
                for pair in (
                    ('neck', f'{side}_shoulder'),
                    (f'{side}_shoulder', f'{side}_elbow'),
                    (f'{side}_elbow', f'{side}_wrist'),
                    (f'{side}_shoulder', f'{side}_ear'),
                )
            ),
            ('neck', 'nose'),
            *(('nose', f'{side}_eye') for side in SIDES),
            *((f'{side}_eye', f'{side}_ear') for side in SIDES),
        ),
        parsing=(
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
        ),
        redundant=tuple((f'{side}_shoulder', f'{side}_ear') for side in SIDES),
        derived={'neck': ('right_shoulder', 'left_shoulder')},
        swaps=tuple((f'left_{part}', f'right_{part}') for part in SIDED),
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'nose'),
    )
)
