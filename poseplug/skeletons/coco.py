"""COCO: 17 joints with the OKS constants of the benchmark (Lin et al. 2014; cocodataset.org, keypoint evaluation)."""

from poseplug.skeleton import Skeleton, register_skeleton

SIDED = ('eye', 'ear', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')

COCO = register_skeleton(
    Skeleton(
        name='coco',
        joints=('nose', *(f'{side}_{part}' for part in SIDED for side in ('left', 'right'))),
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
            ('left_eye', 'right_eye'),
            ('nose', 'left_eye'),
            ('nose', 'right_eye'),
            ('left_eye', 'left_ear'),
            ('right_eye', 'right_ear'),
            ('left_ear', 'left_shoulder'),
            ('right_ear', 'right_shoulder'),
        ),
        swaps=tuple((f'left_{part}', f'right_{part}') for part in SIDED),
        torso=('right_hip', 'left_shoulder'),
        sigmas=tuple(s for part in (0.026, 0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089)
                     for s in ((part,) if part == 0.026 else (part, part))),
    )
)  # fmt: skip
