"""MPII's joints as part affinity fields are trained on them: a chest for pelvis and thorax (Cao et al. 2017).

The chest is the middle of MPII's pelvis and thorax. Limbs are both trained and parsed in this order, a tree.
"""

from poseplug.skeleton import Skeleton, register_skeleton
from poseplug.skeletons.mpii import MPII, SIDED

SIDES = ('right', 'left')
LIMBS = (
    ('head_top', 'neck'),
    *(
        pair
        for side in SIDES
        for pair in (
            ('neck', f'{side}_shoulder'),
            (f'{side}_shoulder', f'{side}_elbow'),
            (f'{side}_elbow', f'{side}_wrist'),
        )
    ),
    ('neck', 'chest'),
    *(
        pair
        for side in SIDES
        for pair in (
            ('chest', f'{side}_hip'),
            (f'{side}_hip', f'{side}_knee'),
            (f'{side}_knee', f'{side}_ankle'),
        )
    ),
)

MPII15 = register_skeleton(
    Skeleton(
        name='mpii15',
        joints=(
            'head_top',
            'neck',
            *(f'{side}_{part}' for side in SIDES for part in ('shoulder', 'elbow', 'wrist')),
            *(f'{side}_{part}' for side in SIDES for part in ('hip', 'knee', 'ankle')),
            'chest',
        ),
        limbs=LIMBS,
        parsing=LIMBS,
        derived={'chest': ('pelvis', 'thorax')},
        swaps=tuple((f'left_{part}', f'right_{part}') for part in SIDED),
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'head_top'),
        groups=MPII.groups,
    )
)
