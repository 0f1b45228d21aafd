"""AI Challenger: 14 keypoints in the order of its files, with its own sigmas (Wu et al. 2017, arXiv:1711.06475)."""

__all__ = ['AIC']

from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import register_skeleton

# 0.17 to 0.42 of COCO's for the same keypoints, so that OKS of the two sets cannot be compared
_SIGMAS = {
    'right_shoulder': 0.01388152,
    'right_elbow': 0.01515228,
    'right_wrist': 0.01057665,
    'left_shoulder': 0.01417709,
    'left_elbow': 0.01497891,
    'left_wrist': 0.01402144,
    'right_hip': 0.03909642,
    'right_knee': 0.03686941,
    'right_ankle': 0.01981803,
    'left_hip': 0.03843971,
    'left_knee': 0.03412318,
    'left_ankle': 0.02415081,
    'head_top': 0.01291456,
    'neck': 0.01236173,
}
_PAIRED_PARTS = ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')

_LIMBS = (
    ('right_wrist', 'right_elbow'),
    ('right_elbow', 'right_shoulder'),
    ('left_wrist', 'left_elbow'),
    ('left_elbow', 'left_shoulder'),
    ('right_ankle', 'right_knee'),
    ('right_knee', 'right_hip'),
    ('left_ankle', 'left_knee'),
    ('left_knee', 'left_hip'),
    ('right_shoulder', 'right_hip'),
    ('left_shoulder', 'left_hip'),
    ('right_hip', 'left_hip'),
    ('right_shoulder', 'neck'),
    ('left_shoulder', 'neck'),
    ('neck', 'head_top'),
)
_FLIP_PAIRS = tuple((f'left_{part}', f'right_{part}') for part in _PAIRED_PARTS)

AIC = register_skeleton(
    Skeleton(
        name='aic',
        keypoints=tuple(_SIGMAS),
        limbs=_LIMBS,
        flip_pairs=_FLIP_PAIRS,
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'head_top'),
        sigmas=tuple(_SIGMAS.values()),
    ),
    __name__,
)
