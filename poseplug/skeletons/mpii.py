"""MPII Human Pose: 16 keypoints in the order of its files (Andriluka et al. 2014).

PCKh divides by the size of the annotated head rectangle (`Instances.head_sizes`), not by a distance of keypoints;
`head` replaces it where a file has no rectangles. Pelvis and thorax are in no group, so that mean scores do not contain
them.
"""

__all__ = ['MPII', 'MPII_PAIRED_PARTS']

from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import register_skeleton

# public, since `mpii15` has the same pairs
MPII_PAIRED_PARTS = ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')

_KEYPOINTS = (
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
)
# 15 limbs of 16 keypoints: a tree through pelvis and thorax
_LIMBS = (
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
)
_GROUPS = {
    'head': ('neck', 'head_top'),
    **{part: (f'right_{part}', f'left_{part}') for part in MPII_PAIRED_PARTS},
}

MPII = register_skeleton(
    Skeleton(
        name='mpii',
        keypoints=_KEYPOINTS,
        limbs=_LIMBS,
        flip_pairs=tuple((f'left_{part}', f'right_{part}') for part in MPII_PAIRED_PARTS),
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'head_top'),
        groups=_GROUPS,
    ),
    __name__,
)
