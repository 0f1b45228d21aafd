"""CrowdPose: 14 keypoints in the order of its files, with the OKS constants of its benchmark (Li et al. 2019)."""

__all__ = ['CROWDPOSE']

from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import register_skeleton

# those of COCO's benchmark for the same keypoints
_PAIRED_PART_SIGMAS = {'shoulder': 0.079, 'elbow': 0.072, 'wrist': 0.062, 'hip': 0.107, 'knee': 0.087, 'ankle': 0.089}

_KEYPOINTS = (
    *(f'{side}_{part}' for part in _PAIRED_PART_SIGMAS for side in ('left', 'right')),
    'head_top',
    'neck',
)
# shoulders, hips and the sides between them are closed, so that the limbs are no tree
_LIMBS = (
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
)
_FLIP_PAIRS = tuple((f'left_{part}', f'right_{part}') for part in _PAIRED_PART_SIGMAS)
# head and neck count as shoulders in the evaluation code of the benchmark
_SIGMAS = (*(sigma for sigma in _PAIRED_PART_SIGMAS.values() for _ in ('left', 'right')), 0.079, 0.079)

CROWDPOSE = register_skeleton(
    Skeleton(
        name='crowdpose',
        keypoints=_KEYPOINTS,
        limbs=_LIMBS,
        flip_pairs=_FLIP_PAIRS,
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'head_top'),
        sigmas=_SIGMAS,
    ),
    __name__,
)
