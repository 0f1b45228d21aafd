"""CrowdPose: 14 joints in the order of its files, with the OKS constants of its benchmark (Li et al. 2019)."""

from poseplug.skeleton import Skeleton, register_skeleton

SIDED = {'shoulder': 0.079, 'elbow': 0.072, 'wrist': 0.062, 'hip': 0.107, 'knee': 0.087, 'ankle': 0.089}

CROWDPOSE = register_skeleton(
    Skeleton(
        name='crowdpose',
        joints=(*(f'{side}_{part}' for part in SIDED for side in ('left', 'right')), 'head_top', 'neck'),
        limbs=(
            ('left_ankle', 'left_knee'),
            ('left_knee', 'left_hip'),
            ('right_ankle', 'right_knee'),
            ('right_knee', 'right_hip'),
            ('left_hip', 'right_hip'),
            ('left_shoulder', 'left_hip'),
            ('right_shoulder', 'right_hip'),
            ('left_shoulder', 'right_shoulder'),
            ('left_shoulder', 'left_elbow'),
            ('right_shoulder', 'right_elbow'),
            ('left_elbow', 'left_wrist'),
            ('right_elbow', 'right_wrist'),
            ('head_top', 'neck'),
            ('neck', 'left_shoulder'),
            ('neck', 'right_shoulder'),
        ),
        swaps=tuple((f'left_{part}', f'right_{part}') for part in SIDED),
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'head_top'),
        sigmas=(*(sigma for sigma in SIDED.values() for _ in range(2)), 0.079, 0.079),
    )
)
