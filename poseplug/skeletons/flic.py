"""FLIC: the nine upper-body keypoints that CPM uses, observer-centric (Sapp & Taskar 2013; Wei et al. 2016)."""

__all__ = ['FLIC']

from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import register_skeleton

_KEYPOINTS = (
    'left_shoulder',
    'left_elbow',
    'left_wrist',
    'right_shoulder',
    'right_elbow',
    'right_wrist',
    'left_hip',
    'right_hip',
    'head',
)
_LIMBS = (
    ('left_shoulder', 'left_elbow'),
    ('left_elbow', 'left_wrist'),
    ('right_shoulder', 'right_elbow'),
    ('right_elbow', 'right_wrist'),
    ('left_shoulder', 'right_shoulder'),
    ('left_shoulder', 'left_hip'),
    ('right_shoulder', 'right_hip'),
)
_FLIP_PAIRS = (
    ('left_shoulder', 'right_shoulder'),
    ('left_elbow', 'right_elbow'),
    ('left_wrist', 'right_wrist'),
    ('left_hip', 'right_hip'),
)

FLIC = register_skeleton(
    Skeleton(
        name='flic',
        keypoints=_KEYPOINTS,
        limbs=_LIMBS,
        flip_pairs=_FLIP_PAIRS,
        torso=('left_shoulder', 'right_hip'),
        # its annotators called left what is left in the image
        centric='observer',
        # the two parts that papers report
        groups={'elbow': ('left_elbow', 'right_elbow'), 'wrist': ('left_wrist', 'right_wrist')},
    ),
    __name__,
)
