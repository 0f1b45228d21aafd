"""COCO: 17 keypoints with the sigmas of the benchmark (Lin et al. 2014; cocodataset.org, keypoint evaluation)."""

__all__ = ['COCO', 'COCO_PAIRED_PARTS']

from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import register_skeleton

# both sides of a pair have one sigma in the evaluation code
_PAIRED_PART_SIGMAS = {
    'eye': 0.025,
    'ear': 0.035,
    'shoulder': 0.079,
    'elbow': 0.072,
    'wrist': 0.062,
    'hip': 0.107,
    'knee': 0.087,
    'ankle': 0.089,
}
_NOSE_SIGMA = 0.026
# public, since `coco18` and `body25` have the same pairs
COCO_PAIRED_PARTS = tuple(_PAIRED_PART_SIGMAS)

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
    ('left_eye', 'right_eye'),
    ('nose', 'left_eye'),
    ('nose', 'right_eye'),
    ('left_eye', 'left_ear'),
    ('right_eye', 'right_ear'),
    ('left_ear', 'left_shoulder'),
    ('right_ear', 'right_shoulder'),
)
_KEYPOINTS = ('nose', *(f'{side}_{part}' for part in COCO_PAIRED_PARTS for side in ('left', 'right')))
_FLIP_PAIRS = tuple((f'left_{part}', f'right_{part}') for part in COCO_PAIRED_PARTS)

COCO = register_skeleton(
    Skeleton(
        name='coco',
        keypoints=_KEYPOINTS,
        limbs=_LIMBS,
        flip_pairs=_FLIP_PAIRS,
        # the diagonal that PCK divides by; there is no `head`, since COCO labels neither its top nor the neck
        torso=('right_hip', 'left_shoulder'),
        sigmas=(_NOSE_SIGMA, *(sigma for sigma in _PAIRED_PART_SIGMAS.values() for _ in ('left', 'right'))),
    ),
    __name__,
)
