"""BODY_25: COCO's joints, neck, middle of the hips and feet (Cao et al. 2019, arXiv:1812.08008).

`limbs` are in the order of the released fields, `parsing` in that of the released parser. There are no constants for
the joints that the benchmark does not know: people are scored with the joints of `coco`.
"""

from poseplug.skeleton import Skeleton, register_skeleton
from poseplug.skeletons.coco import SIDED

SIDES = ('right', 'left')
FOOT = ('big_toe', 'small_toe', 'heel')

BODY25 = register_skeleton(
    Skeleton(
        name='body25',
        joints=(
            'nose',
            'neck',
            *(f'{side}_{part}' for side in SIDES for part in ('shoulder', 'elbow', 'wrist')),
            'mid_hip',
            *(f'{side}_{part}' for side in SIDES for part in ('hip', 'knee', 'ankle')),
            *(f'{side}_{part}' for part in ('eye', 'ear') for side in SIDES),
            *(f'{side}_{part}' for side in SIDES[::-1] for part in FOOT),
        ),
        limbs=(
            ('neck', 'mid_hip'),
            ('right_hip', 'right_knee'),
            ('right_knee', 'right_ankle'),
            ('mid_hip', 'right_hip'),
            ('mid_hip', 'left_hip'),
            ('left_hip', 'left_knee'),
            ('left_knee', 'left_ankle'),
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
            *(
                pair
                for side in SIDES[::-1]
                for pair in (
                    (f'{side}_ankle', f'{side}_big_toe'),
                    (f'{side}_big_toe', f'{side}_small_toe'),
                    (f'{side}_ankle', f'{side}_heel'),
                )
            ),
        ),
        parsing=(
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
        ),
        redundant=tuple((f'{side}_shoulder', f'{side}_ear') for side in SIDES),
        derived={'neck': ('right_shoulder', 'left_shoulder'), 'mid_hip': ('right_hip', 'left_hip')},
        swaps=tuple((f'left_{part}', f'right_{part}') for part in (*SIDED, *FOOT)),
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'nose'),
    )
)
