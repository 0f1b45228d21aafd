"""MPII Human Pose: 16 joints in the order of its files (Andriluka et al. 2014).

PCKh divides by the size of the annotated head rectangle (`Record.heads`), not by the distance of two joints; `head` is
the next best where a file gives no rectangle. The means leave out pelvis and thorax: no group has them.
"""

from poseplug.skeleton import Skeleton, register_skeleton

SIDED = ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')

MPII = register_skeleton(
    Skeleton(
        name='mpii',
        joints=(
            'right_ankle',
            'right_knee',
            'right_hip',
            'left_hip',
            'left_knee',
            'left_ankle',
            'pelvis',
            'thorax',
            'neck',
            'head_top',
            'right_wrist',
            'right_elbow',
            'right_shoulder',
            'left_shoulder',
            'left_elbow',
            'left_wrist',
        ),
        limbs=(
            ('right_ankle', 'right_knee'),
            ('right_knee', 'right_hip'),
            ('right_hip', 'pelvis'),
            ('left_hip', 'pelvis'),
            ('left_hip', 'left_knee'),
            ('left_knee', 'left_ankle'),
            ('pelvis', 'thorax'),
            ('thorax', 'neck'),
            ('neck', 'head_top'),
            ('thorax', 'right_shoulder'),
            ('right_shoulder', 'right_elbow'),
            ('right_elbow', 'right_wrist'),
            ('thorax', 'left_shoulder'),
            ('left_shoulder', 'left_elbow'),
            ('left_elbow', 'left_wrist'),
        ),
        swaps=tuple((f'left_{part}', f'right_{part}') for part in SIDED),
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'head_top'),
        groups={
            'head': ('neck', 'head_top'),
            **{part: (f'right_{part}', f'left_{part}') for part in SIDED},
        },
    )
)
